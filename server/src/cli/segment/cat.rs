//! Owns `segment cat`: records as JSON lines on standard output, until there are no more, enough, or nobody reads them.

use std::ops::Range;

use clap::Args;

use super::object::expand;
use super::reader::Reader;
use super::record::Mark;
use super::writer::StandardOutput;
use super::{Failure, Format, Settings, arguments, block_on, config};
use crate::runtime::Clock;

/// What can be typed after `segment cat`.
#[derive(Debug, Args)]
pub struct Cat {
    /// Files of any format, directories of segments, or segments in object storage: s3://BUCKET/NAME, gs://BUCKET/NAME,
    /// az://ACCOUNT/CONTAINER/NAME.
    #[arg(required = true, value_name = "FILE|URL")]
    names: Vec<String>,
    /// These offsets alone: A..B (B is not printed), A.., ..B or one.
    #[arg(long, value_name = "A..B", value_parser = arguments::offsets)]
    offsets: Option<Range<i64>>,
    /// So many records at most, of all files together.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
    /// Control records and aborted data, too; they are marked.
    #[arg(long)]
    all: bool,
    /// What the files are, where their names do not tell.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    settings: Settings,
}

/// Does what was typed.
pub fn run(asked: &Cat) -> Result<(), Failure> {
    let config = config(&asked.settings)?;
    block_on(async {
        let range = asked.offsets.clone().unwrap_or(0..i64::MAX);
        let mut left = asked.limit.unwrap_or(u64::MAX);
        let mut out = StandardOutput::default();
        let now_ms = Clock::system().now_ms();
        for name in expand(&asked.names, &config).await? {
            if left == 0 {
                break;
            }
            let mut reader = Reader::open(&name, asked.format, &config, now_ms).await?;
            let mut is_sorted = false;
            if let Reader::Segment(segment) = &mut reader {
                segment.seek(range.start);
                is_sorted = true;
            }
            let mut is_wanted = true;
            while left > 0
                && is_wanted
                && reader
                    .next(&mut |record| {
                        if record.offset >= range.end && is_sorted {
                            return Ok(false);
                        }
                        if !range.contains(&record.offset) || (record.mark != Mark::Plain && !asked.all) {
                            return Ok(true);
                        }
                        left -= 1;
                        is_wanted = out.push(record)?;
                        Ok(is_wanted && left > 0)
                    })
                    .await?
            {}
            if !is_wanted {
                return Ok(());
            }
        }
        out.flush().map(drop)
    })
}
