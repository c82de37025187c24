//! Writes the seeds of the fuzz targets: `cargo run -p utp-tests --bin fuzz-seeds [-- DIRECTORY]`, by
//! default `fuzz/seeds/` of this repository, one directory per target.

use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| default.into()));
    let seeds = utp_tests::fuzz::seeds::all();
    for (target, name, bytes) in &seeds {
        let directory = root.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    println!("{} seeds in {}", seeds.len(), root.display());
    Ok(())
}
