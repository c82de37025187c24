//! What is to be sent: a file, stdin, or generated data, in chunks that go to the stream uncopied.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use utp_tokio::OwnedWriteHalf;

use crate::progress::Progress;

/// A source of bytes.
pub(crate) struct Payload {
    source: Source,
    /// For messages.
    name: String,
}

enum Source {
    Reader {
        reader: Box<dyn AsyncRead + Send + Unpin>,
        buffer: BytesMut,
        /// At the time of opening; a file may grow or shrink.
        len: Option<u64>,
    },
    Generated {
        pattern: Bytes,
        /// Of the next chunk.
        number: usize,
        left: u64,
    },
}

impl Payload {
    /// Opens a file; `-` is stdin.
    ///
    /// # Errors
    /// It cannot be opened, or is a directory.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::stdin());
        }
        let name = path.display().to_string();
        let opened = async {
            let file = File::open(path).await?;
            let meta = file.metadata().await?;
            io::Result::Ok((file, meta))
        };
        let (file, meta) = opened.await.with_context(|| format!("cannot open {name}"))?;
        if meta.is_dir() {
            bail!("cannot send {name}: it is a directory");
        }
        let len = meta.is_file().then_some(meta.len());
        Ok(Self { source: Source::Reader { reader: Box::new(file), buffer: BytesMut::new(), len }, name })
    }

    pub(crate) fn stdin() -> Self {
        let source =
            Source::Reader { reader: Box::new(tokio::io::stdin()), buffer: BytesMut::new(), len: None };
        Self { source, name: "stdin".to_owned() }
    }

    /// `size` bytes cut from a pattern, each chunk elsewhere, so that chunks lost, repeated or exchanged
    /// change the whole.
    pub(crate) fn generated(pattern: Bytes, size: u64) -> Self {
        Self {
            source: Source::Generated { pattern, number: 0, left: size },
            name: "generated data".to_owned(),
        }
    }

    /// Bytes to come, if that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.source {
            Source::Reader { len, .. } => *len,
            Source::Generated { left, .. } => Some(*left),
        }
    }

    /// The next bytes; none at the end. Cancel-safe.
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) async fn chunk(&mut self) -> anyhow::Result<Bytes> {
        match &mut self.source {
            Source::Reader { reader, buffer, .. } => {
                // Small reads share memory, or a few bytes each could pin a whole buffer.
                if buffer.capacity() < CHUNK / 4 {
                    buffer.reserve(CHUNK);
                }
                reader.read_buf(buffer).await.with_context(|| format!("cannot read {}", self.name))?;
                Ok(buffer.split().freeze())
            }
            Source::Generated { pattern, number, left } => {
                let len = (CHUNK as u64).min(*left);
                let start = number.wrapping_mul(STRIDE) % (pattern.len() - CHUNK);
                *number += 1;
                *left -= len;
                Ok(pattern.slice(start..start + len as usize))
            }
        }
    }

    /// SHA-256 of all of it, which is consumed.
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) async fn digest(mut self, progress: &Progress) -> anyhow::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        let mut done = 0;
        loop {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Ok(hash.finalize().into());
            }
            hash.update(&chunk);
            done += chunk.len() as u64;
            progress.at(done);
            // Hashing blocks; Ctrl-C should not wait for all of it.
            tokio::task::yield_now().await;
        }
    }

    /// Writes all of it to the peer, then the FIN, and waits until both are acknowledged.
    ///
    /// # Errors
    /// Reading failed, or the connection ended before that.
    pub(crate) async fn send(mut self, write: &mut OwnedWriteHalf) -> anyhow::Result<()> {
        let peer = write.as_ref().peer_addr();
        loop {
            let mut chunk = self.chunk().await?;
            if chunk.is_empty() {
                break;
            }
            write.write_bytes(&mut chunk).await.with_context(|| format!("sending to {peer} failed"))?;
        }
        let finish = async {
            write.as_ref().finish()?;
            write.as_ref().acked().await
        };
        finish.await.with_context(|| format!("sending to {peer} failed"))
    }
}

/// A pattern for [`Payload::generated`].
///
/// # Errors
/// The system has no randomness.
pub(crate) fn pattern() -> anyhow::Result<Bytes> {
    let mut bytes = vec![0; PATTERN];
    getrandom::fill(&mut bytes).map_err(io::Error::other).context("cannot generate data")?;
    Ok(bytes.into())
}

/// Bytes read at a time: enough to make a system call cheap, little enough to stay in the cache.
pub(crate) const CHUNK: usize = 256 << 10;

/// Memory of a pattern. `PATTERN - CHUNK` is a power of two, ...
const PATTERN: usize = CHUNK + (1 << 20);

/// ... and this is odd, so that 2^20 chunks (256 GiB) begin at different places.
const STRIDE: usize = 618_033;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn generated_chunks_differ_and_add_up() {
        let pattern = pattern().unwrap();
        let size = 20 * CHUNK as u64 + 5;
        let mut payload = Payload::generated(pattern, size);
        assert_eq!(payload.len(), Some(size));
        let mut chunks: Vec<Bytes> = Vec::new();
        loop {
            let chunk = payload.chunk().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            assert!(!chunks.contains(&chunk));
            chunks.push(chunk);
        }
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>() as u64, size);
        assert_eq!(chunks.len(), 21);
    }

    #[test]
    fn chunks_begin_at_different_places() {
        let places = PATTERN - CHUNK;
        assert!(places.is_power_of_two() && STRIDE % 2 == 1 && STRIDE < places);
    }
}
