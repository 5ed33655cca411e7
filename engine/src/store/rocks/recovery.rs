//! Our own check, on top of RocksDB's, that what was acknowledged is still there when a store opens.
//!
//! RocksDB recovers the log up to the first hole. A hole in front of acknowledged data (a lost file, a disk that
//! lied) would shorten history in silence. So the last durable sequence number is noted beside the data every few
//! seconds, and a store that recovers to less than the note refuses to open. The note lags behind, never ahead.
//!
//! ```text
//! file `durable-sequence`: two slots, at 0 and at 4096, written in turn, so that a torn write leaves the other
//! 0   magic  8 bytes
//! 8   sequence, u64 big-endian
//! 16  CRC-32C of bytes 0..16, u32 big-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILE_NAME: &str = "durable-sequence";
const MAGIC: &[u8; 8] = b"chrnkseq";
const SLOT_BYTES: usize = 20;
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The note; see the module.
#[derive(Debug)]
pub(super) struct SequenceNote {
    file: File,
    noted: u64,
    next_slot: usize,
}

impl SequenceNote {
    /// Opens or creates the note in the store's directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let created = !path.exists();
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if created {
            File::open(directory)?.sync_all()?;
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let slots = SLOT_OFFSETS.map(|offset| decode(content.get(offset as usize..).unwrap_or_default()));
        let newest = if slots[1] > slots[0] { 1 } else { 0 };
        if !content.is_empty() && slots[newest].is_none() {
            tracing::warn!(path = %path.display(), "the note of the last durable sequence cannot be read; not checked");
        }
        Ok(Self { file, noted: slots[newest].unwrap_or(0), next_slot: 1 - newest })
    }

    /// The highest sequence known to have been durable.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    /// Notes that everything up to `sequence` is durable, and fsyncs the note.
    pub(super) fn note(&mut self, sequence: u64) -> io::Result<()> {
        if sequence <= self.noted {
            return Ok(());
        }
        self.file.write_all_at(&encode(sequence), SLOT_OFFSETS[self.next_slot])?;
        self.file.sync_data()?;
        self.noted = sequence;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

fn encode(sequence: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&slot[..16]);
    slot[16..].copy_from_slice(&crc.to_be_bytes());
    slot
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let slot: &[u8; SLOT_BYTES] = bytes.first_chunk()?;
    let sequence = u64::from_be_bytes(*slot[8..].first_chunk()?);
    (encode(sequence) == *slot).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_survives_reopening_and_a_torn_write() {
        let directory = tempfile::tempdir().unwrap();
        let mut note = SequenceNote::open(directory.path()).unwrap();
        assert_eq!(note.noted(), 0);
        note.note(7).unwrap();
        note.note(9).unwrap();
        note.note(8).unwrap();
        drop(note);
        let note = SequenceNote::open(directory.path()).unwrap();
        assert_eq!(note.noted(), 9);
        // The next write goes over 7, not over 9: tear it.
        note.file.write_all_at(b"chrnkseq\0\0\0", SLOT_OFFSETS[note.next_slot]).unwrap();
        drop(note);
        let note = SequenceNote::open(directory.path()).unwrap();
        assert_eq!(note.noted(), 9, "the other slot is whole");
    }

    #[test]
    fn a_flipped_bit_is_not_a_sequence() {
        let mut slot = encode(42);
        assert_eq!(decode(&slot), Some(42));
        slot[12] ^= 1;
        assert_eq!(decode(&slot), None);
    }
}
