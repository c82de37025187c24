//! What the application wrote, until the peer has acknowledged it.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use super::Pools;

/// A byte stream from the first unacknowledged byte to the last written one, in chunks. Positions are
/// absolute offsets in the stream, so packets refer to ranges that never change.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    chunks: VecDeque<Chunk>,
    /// Index of the chunk that was read last: new packets read on from there.
    cursor: usize,
    /// Offset of the first byte kept; everything before was acknowledged.
    start: u64,
    /// Offset behind the last byte written.
    end: u64,
}

#[derive(Debug)]
struct Chunk {
    /// Offset of the first byte of `data`.
    start: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// Copied from the application; may take more until its capacity is used up.
    Own(Vec<u8>),
    /// Handed over by the application without copying.
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Own(v) => v,
            Data::Shared(b) => b,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes().len() as u64
    }
}

impl SendBuffer {
    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Offset behind the last byte written.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Appends a copy of `data`.
    pub(crate) fn write(&mut self, pools: &mut Pools, mut data: &[u8]) {
        while !data.is_empty() {
            let room = match self.chunks.back_mut() {
                Some(Chunk { data: Data::Own(v), .. }) if v.len() < v.capacity() => v,
                _ => {
                    let size = self.next_chunk(data.len());
                    let block = pools.blocks.take(size);
                    self.chunks.push_back(Chunk { start: self.end, data: Data::Own(block) });
                    continue;
                }
            };
            let n = data.len().min(room.capacity() - room.len());
            let (now, later) = data.split_at(n);
            room.extend_from_slice(now);
            self.end += n as u64;
            data = later;
        }
    }

    /// Appends `data` without copying, unless it is so short that copying is cheaper.
    pub(crate) fn write_bytes(&mut self, pools: &mut Pools, data: Bytes) {
        if data.len() < COPY_BELOW {
            return self.write(pools, &data);
        }
        let start = self.end;
        self.end += data.len() as u64;
        self.chunks.push_back(Chunk { start, data: Data::Shared(data) });
    }

    /// Appends `len` bytes from `offset` on to `out`. The range must be held; what is not is skipped.
    pub(crate) fn copy_to(&mut self, offset: u64, len: usize, out: &mut Vec<u8>) {
        let mut at = offset;
        let end = offset + len as u64;
        if !self.chunks.get(self.cursor).is_some_and(|c| c.start <= offset && offset < c.end()) {
            self.cursor = self.chunks.partition_point(|c| c.end() <= offset);
        }
        while at < end {
            let Some(chunk) = self.chunks.get(self.cursor) else { break };
            let from = at.saturating_sub(chunk.start) as usize;
            let bytes = chunk.bytes().get(from..).unwrap_or_default();
            let n = bytes.len().min((end - at) as usize);
            out.extend_from_slice(bytes.get(..n).unwrap_or_default());
            at += n as u64;
            if at < end {
                self.cursor += 1;
            }
        }
        debug_assert_eq!(at, end, "range not held");
    }

    /// Gives back everything before `offset`.
    pub(crate) fn release(&mut self, pools: &mut Pools, offset: u64) {
        self.start = self.start.max(offset.min(self.end));
        while let Some(chunk) = self.chunks.front() {
            if chunk.end() > self.start {
                break;
            }
            self.cursor = self.cursor.saturating_sub(1);
            if let Some(Chunk { data: Data::Own(block), .. }) = self.chunks.pop_front() {
                pools.blocks.give(block);
            }
        }
    }

    /// Frees what an empty queue keeps for the next write.
    pub(crate) fn shrink(&mut self) {
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    /// Small at first, doubling while the queue stays filled.
    fn next_chunk(&self, wanted: usize) -> usize {
        let last = self.chunks.back().map_or(0, |c| c.bytes().len());
        wanted.max(2 * last).next_power_of_two().clamp(MIN_CHUNK, MAX_CHUNK)
    }

    /// Splits off `data` what fits into `room` bytes.
    pub(crate) fn split(data: &mut Bytes, room: usize) -> Bytes {
        if data.remaining() <= room { std::mem::take(data) } else { data.split_to(room) }
    }
}

/// One small message should not cost a page.
const MIN_CHUNK: usize = 1 << 11;

/// Large enough that chunk boundaries are rare beside packets, small enough to be given back soon.
const MAX_CHUNK: usize = 1 << 16;

/// Below this a reference-counted chunk costs more than the copy it saves.
const COPY_BELOW: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(offset: u64, len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| ((offset + i) * 31 % 251) as u8).collect()
    }

    #[test]
    fn ranges_read_back_across_chunks_of_both_kinds() {
        let mut pools = Pools::default();
        let mut buffer = SendBuffer::default();
        let sizes = [1usize, 700, 5000, if cfg!(miri) { 10_000 } else { 100_000 }, 3, 600];
        for (i, &size) in sizes.iter().enumerate() {
            let data = pattern(buffer.end(), size);
            if i % 2 == 0 {
                buffer.write(&mut pools, &data);
            } else {
                buffer.write_bytes(&mut pools, Bytes::from(data));
            }
        }
        let total = sizes.iter().sum::<usize>();
        assert_eq!((buffer.len(), buffer.end()), (total, total as u64));
        let mut offset = 0;
        while offset < total {
            let len = (total - offset).min(1452);
            let mut out = Vec::new();
            buffer.copy_to(offset as u64, len, &mut out);
            assert_eq!(out, pattern(offset as u64, len));
            buffer.release(&mut pools, (offset + len) as u64);
            offset += len;
        }
        assert_eq!(buffer.len(), 0);
        assert!(buffer.chunks.is_empty());
    }

    #[test]
    fn releasing_the_middle_of_a_chunk_keeps_the_rest_readable() {
        let mut pools = Pools::default();
        let mut buffer = SendBuffer::default();
        buffer.write(&mut pools, &pattern(0, 1000));
        buffer.release(&mut pools, 400);
        buffer.release(&mut pools, 100);
        assert_eq!(buffer.len(), 600);
        let mut out = Vec::new();
        buffer.copy_to(400, 600, &mut out);
        assert_eq!(out, pattern(400, 600));
        buffer.release(&mut pools, 99_999);
        assert_eq!((buffer.len(), buffer.end()), (0, 1000));
    }

    #[test]
    fn chunks_double_while_the_queue_stays_filled_and_long_ones_are_shared() {
        let mut pools = Pools::default();
        let mut buffer = SendBuffer::default();
        let mut sizes = Vec::new();
        for len in [1, 2047, 1, 4095, 1, 8191, 1] {
            buffer.write(&mut pools, &pattern(buffer.end(), len));
            sizes.push(
                buffer
                    .chunks
                    .iter()
                    .map(|chunk| matches!(&chunk.data, Data::Own(v) if v.capacity() > 0))
                    .len(),
            );
        }
        assert_eq!(sizes, [1, 1, 2, 2, 3, 3, 4], "of 2, 4, 8 and 16 KiB");
        for (len, is_shared) in [(COPY_BELOW - 1, false), (COPY_BELOW, true), (9_000, true)] {
            let data = Bytes::from(pattern(buffer.end(), len));
            let at = data.as_ptr();
            buffer.write_bytes(&mut pools, data);
            let last = buffer.chunks.back().map(Chunk::bytes).unwrap_or_default();
            assert_eq!(last.as_ptr() == at && last.len() == len, is_shared, "{len}");
        }
        let (end, mut out) = (buffer.end(), Vec::new());
        buffer.copy_to(0, end as usize, &mut out);
        assert!(out == pattern(0, end as usize));
        buffer.release(&mut pools, end);
        buffer.shrink();
        assert_eq!(buffer.chunks.capacity(), 0, "an empty one that rests holds no memory");
    }
}
