//! Hosts: threads in network namespaces of their own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::libc;
use nix::sched::{CloneFlags, unshare};

/// What runs on a host.
pub type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with one TUN device. It goes with the last of its threads.
#[derive(Debug)]
pub struct Host {
    jobs: mpsc::Sender<Job>,
    /// What the host sends and receives: IP packets.
    pub tun: File,
}

/// Makes this process the owner of a user namespace, in which it may have networks of its own. To be called before
/// any thread is started.
///
/// # Errors
/// If the system does not allow that to users (`kernel.unprivileged_userns_clone`, AppArmor), or there are threads.
pub fn become_root() -> io::Result<()> {
    let (user, group) = (nix_id("/proc/self", "Uid:")?, nix_id("/proc/self", "Gid:")?);
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// The effective id, from the process's status.
fn nix_id(process: &str, line: &str) -> io::Result<u32> {
    let status = fs::read_to_string(format!("{process}/status"))?;
    let ids = status.lines().find_map(|l| l.strip_prefix(line));
    ids.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

impl Host {
    /// Host 1 is 10.9.0.1, host 2 is 10.9.0.2, and each is the other's only neighbour.
    ///
    /// # Errors
    /// If the namespace, the device or its address cannot be had.
    pub fn new(number: u8) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        thread::spawn(move || {
            let tun = enter(number);
            let went_well = tun.is_ok();
            if ready.send(tun).is_err() || !went_well {
                return;
            }
            // Threads inherit the namespace of the one that starts them.
            while let Ok(job) = queue.recv() {
                thread::spawn(job);
            }
        });
        let tun = made.recv().map_err(io::Error::other)??;
        Ok(Self { jobs, tun })
    }

    /// Runs it on the host and waits for what it says.
    ///
    /// # Errors
    /// If it ended without a word.
    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (tell, told) = mpsc::channel();
        self.run(move || drop(tell.send(question())));
        told.recv().map_err(io::Error::other)
    }

    /// Runs it on the host, on a thread of its own.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        // It ends only with `self`.
        let _ = self.jobs.send(Box::new(job));
    }
}

fn enter(number: u8) -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let tun = open_tun()?;
    let (own, other) = (format!("10.9.0.{number}"), format!("10.9.0.{}", 3 - number));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["addr", "add", &own, "peer", &other, "dev", DEVICE])?;
    ip(&["link", "set", DEVICE, "mtu", "1500", "up"])?;
    for (name, value) in SETTINGS {
        // As far as they exist here: the tables say what the system has.
        let _ = fs::write(format!("/proc/sys/net/{name}"), value);
    }
    Ok(tun)
}

fn ip(args: &[&str]) -> io::Result<()> {
    let status = Command::new("ip").args(args).status()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other(format!("ip {}", args.join(" "))))
}

fn open_tun() -> io::Result<File> {
    let tun =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: 0, padding: [0; 22] };
    request.name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    request.flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    attach(&tun, &request)?;
    Ok(tun)
}

/// `struct ifreq`.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}

mod sys {
    use super::InterfaceRequest;

    // TUNSETIFF: the kernel's headers call it a request with an `int`, and it takes an `ifreq`.
    nix::ioctl_write_ptr_bad!(set_interface, nix::request_code_write!(b'T', 202, 4), InterfaceRequest);
}

#[allow(unsafe_code)]
fn attach(tun: &File, request: &InterfaceRequest) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the request is as large as the kernel's.
    unsafe { sys::set_interface(tun.as_raw_fd(), request) }?;
    Ok(())
}

const DEVICE: &str = "em0";

/// Of each host: buffers of TCP for long fat paths.
const SETTINGS: [(&str, &str); 2] =
    [("ipv4/tcp_wmem", "4096 131072 16777216"), ("ipv4/tcp_rmem", "4096 131072 16777216")];
