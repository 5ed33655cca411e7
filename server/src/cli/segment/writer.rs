//! Owns records on their way to files of JSON lines or Parquet, or to standard output.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::output::{NewFile, refuse_existing};
use super::parquet::ParquetWriter;
use super::record::Record;
use super::{Failure, Format, json_lines};

/// Bytes of lines that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// A file of records under way.
pub enum RecordFile {
    /// Of lines.
    Lines(NewFile, Vec<u8>),
    /// Of Parquet.
    Parquet(Box<ParquetWriter>),
}

impl RecordFile {
    /// Begins the file that will be called `name`.
    pub fn create(folder: &Path, name: &str, format: Format, replace: bool) -> Result<Self, Failure> {
        refuse_existing(&folder.join(name), replace)?;
        let file = NewFile::create(folder, name)?;
        match format {
            Format::Parquet => Ok(Self::Parquet(Box::new(ParquetWriter::new(file)?))),
            Format::Jsonl | Format::Segment => Ok(Self::Lines(file, Vec::with_capacity(BUFFER_BYTES))),
        }
    }

    /// Bytes of it so far; of Parquet about.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Lines(file, buffer) => file.bytes() + buffer.len() as u64,
            Self::Parquet(writer) => writer.bytes(),
        }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        match self {
            Self::Lines(file, buffer) => {
                json_lines::write(record, buffer);
                if buffer.len() >= BUFFER_BYTES {
                    file.append(buffer)?;
                    buffer.clear();
                }
                Ok(())
            }
            Self::Parquet(writer) => writer.push(record),
        }
    }

    /// Gives it its name. Returns where it is, and its bytes.
    pub fn finish(self, name: &str, replace: bool) -> Result<(PathBuf, u64), Failure> {
        let mut file = match self {
            Self::Lines(mut file, buffer) => {
                file.append(&buffer)?;
                file
            }
            Self::Parquet(writer) => writer.finish()?,
        };
        file.flush().map_err(|error| format!("{name}: {error}"))?;
        let bytes = file.bytes();
        Ok((file.finish(name, replace)?, bytes))
    }
}

/// Lines on standard output, until nobody reads them any more.
#[derive(Default)]
pub struct StandardOutput {
    buffer: Vec<u8>,
    is_closed: bool,
}

impl StandardOutput {
    /// Appends a record; false when the reader has gone.
    pub fn push(&mut self, record: &Record<'_>) -> Result<bool, Failure> {
        json_lines::write(record, &mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(!self.is_closed) }
    }

    /// Writes what was gathered; false when the reader has gone.
    pub fn flush(&mut self) -> Result<bool, Failure> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_closed = true,
            Err(error) => return Err(format!("standard output cannot be written: {error}")),
        }
        Ok(!self.is_closed)
    }
}
