//! Where received data goes. A file appears under its name when it is complete, and not before.

use std::io;
use std::path::{Path, PathBuf, is_separator};

use anyhow::{Context, bail};
use bytes::BytesMut;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, Stdout};
use utp_tokio::OwnedReadHalf;

use crate::payload::CHUNK;

/// Somewhere to put what a peer sends. Dropped before it is filled, it leaves no file behind.
#[derive(Debug)]
pub(crate) struct Sink {
    target: Target,
    /// For messages.
    name: String,
}

#[derive(Debug)]
enum Target {
    Stdout(Stdout),
    /// A device or a named pipe: cannot look whole, and must not be replaced.
    Special(File),
    /// A file under a temporary name next to its place.
    File {
        file: File,
        temporary: TempPath,
        path: PathBuf,
    },
}

impl Sink {
    /// `-` is stdout. What stands at `path` is replaced when all has come.
    ///
    /// # Errors
    /// Nothing can be created there.
    pub(crate) async fn create(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { target: Target::Stdout(tokio::io::stdout()), name: "stdout".to_owned() });
        }
        let name = path.display().to_string();
        let context = || format!("cannot write {name}");
        if path.as_os_str().as_encoded_bytes().last().is_some_and(|&last| is_separator(last.into())) {
            bail!("cannot write {name}: it names a directory");
        }
        let target = match tokio::fs::metadata(path).await {
            Ok(meta) if meta.is_dir() => bail!("cannot write {name}: it is a directory"),
            Ok(meta) if !meta.is_file() => {
                Target::Special(File::options().write(true).open(path).await.with_context(context)?)
            }
            // Behind a symbolic link, so that the link stays.
            Ok(_) => {
                temporary(tokio::fs::canonicalize(path).await.with_context(context)?).with_context(context)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                temporary(path.to_owned()).with_context(context)?
            }
            Err(error) => return Err(error).with_context(context),
        };
        Ok(Self { target, name })
    }

    /// Takes what the peer sends, up to its FIN; then a file gets its name, once the disk has it all.
    ///
    /// # Errors
    /// The connection ended before the FIN, or writing failed. There is no file then.
    pub(crate) async fn fill(mut self, read: &mut OwnedReadHalf) -> anyhow::Result<()> {
        let peer = read.as_ref().peer_addr();
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let mut done = 0;
        loop {
            let received = read.read_buf(&mut buffer).await;
            let received =
                received.with_context(|| format!("receiving from {peer} failed after {done} bytes"))?;
            if received == 0 {
                return self.finish().await;
            }
            self.write(&buffer).await?;
            buffer.clear();
            done += received as u64;
        }
    }

    /// An error may be about data written earlier.
    async fn write(&mut self, data: &[u8]) -> anyhow::Result<()> {
        let written = match &mut self.target {
            Target::Stdout(stdout) => write_now(stdout, data).await,
            Target::Special(file) => write_now(file, data).await,
            Target::File { file, .. } => file.write_all(data).await,
        };
        written.with_context(|| format!("cannot write {}", self.name))
    }

    async fn finish(self) -> anyhow::Result<()> {
        let finished = match self.target {
            Target::Stdout(mut stdout) => stdout.flush().await,
            Target::Special(mut file) => file.flush().await,
            Target::File { file, temporary, path } => persist(file, temporary, &path).await,
        };
        finished.with_context(|| format!("cannot write {}", self.name))
    }
}

/// Whoever reads a pipe wants what there is.
async fn write_now(mut writer: impl AsyncWrite + Unpin, data: &[u8]) -> io::Result<()> {
    writer.write_all(data).await?;
    writer.flush().await
}

fn temporary(path: PathBuf) -> io::Result<Target> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let prefix = format!(".{}.", name.chars().take(NAME_PART).collect::<String>());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    // As any other program creates files: the user's mask decides who may read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let (file, temporary) = builder.tempfile_in(directory)?.into_parts();
    Ok(Target::File { file: File::from_std(file), temporary, path })
}

async fn persist(mut file: File, temporary: TempPath, path: &Path) -> io::Result<()> {
    file.flush().await?;
    // Or a crash of the machine might leave the name without the contents.
    file.sync_all().await?;
    drop(file);
    temporary.persist(path)?;
    Ok(())
}

/// Characters, of up to 4 bytes, of a file's name that its temporary name begins with. File systems take
/// names of 255 bytes.
const NAME_PART: usize = 60;
