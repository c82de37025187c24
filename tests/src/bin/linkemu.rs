//! uTP and TCP over an emulated bottleneck, between real kernels in real time. Linux; see `tests/linkemu.sh`.

#![cfg_attr(not(target_os = "linux"), allow(unused))]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("linkemu needs Linux: network namespaces and TUN devices");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;

    use clap::Parser;
    use serde::Serialize;
    use utp_tests::congestion::Kind;
    use utp_tests::linkemu::cases::{CASES, Measured};
    use utp_tests::linkemu::flows::{Control, Speaks};
    use utp_tests::linkemu::host;

    /// Congestion control over an emulated bottleneck, between real kernels.
    #[derive(Debug, Parser)]
    struct Options {
        /// Only cases whose name contains this.
        #[arg(long)]
        case: Option<String>,
        /// Who is measured: tcp (CUBIC), bbr (TCP too), and the congestion controls of uTP.
        #[arg(long, value_delimiter = ',', default_value = "ebb,tcp")]
        who: Vec<String>,
        /// What TCP uses that joins others: cubic or bbr.
        #[arg(long, default_value = "cubic")]
        beside: String,
        /// Writes what was measured to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    }

    #[derive(Debug, Serialize)]
    struct Row {
        case: &'static str,
        who: String,
        #[serde(flatten)]
        measured: Measured,
    }

    fn speaks(who: &str) -> Result<Speaks, Box<dyn std::error::Error>> {
        let name = if who == "tcp" { "cubic" } else { who };
        // The name of uTP's CUBIC is taken for that of uTP.
        let utp = if who == "tcp" { None } else { Kind::named(name) };
        let tcp = Control::named(name).map(Speaks::Tcp);
        utp.map(Speaks::Utp).or(tcp).ok_or_else(|| format!("nobody is called {who}").into())
    }

    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        let options = Options::parse();
        host::become_root().map_err(|error| format!("no user namespace: {error}"))?;
        let beside = Control::named(&options.beside).ok_or("TCP has no such control here")?;
        let mut rows = Vec::new();
        for case in
            CASES.iter().filter(|case| options.case.as_ref().is_none_or(|part| case.name.contains(part)))
        {
            let [libutp, librqbit, tcp] = case.others;
            println!("{}  (libutp {libutp}; librqbit-utp {librqbit}; TCP {tcp})", case.name);
            for who in &options.who {
                let speaks = speaks(who)?;
                if matches!(speaks, Speaks::Tcp(_)) && case.is_against_tcp() {
                    continue;
                }
                let measured = case.measure(speaks, beside)?;
                let Measured { goodput, queueing_mean: mean, queueing_p95: p95, tcp_share } = measured;
                print!("  {who:8} {goodput:6.2} Mbit/s, queueing {mean:5.1} ms mean, {p95:5.1} ms p95");
                match tcp_share {
                    Some(share) => println!(", TCP's share {share:.3}"),
                    None => println!(),
                }
                rows.push(Row { case: case.name, who: who.clone(), measured });
            }
        }
        if let Some(file) = &options.json {
            std::fs::write(file, serde_json::to_string_pretty(&rows)?)?;
        }
        Ok(())
    }
}
