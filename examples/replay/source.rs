//! Lines of files and of standard input, gzipped or not.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
};

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

use super::args::is_stdin;

/// A longer line is not kept in memory.
const LONGEST_LINE: usize = 16 << 20;

/// The lines of one source, counted from 1.
pub(crate) struct Lines<'a> {
    text: Box<dyn BufRead + 'a>,
    bytes: Vec<u8>,
    number: u64,
}

/// What [`Lines`] finds next.
pub(crate) enum Line<'a> {
    Text(Cow<'a, str>),
    TooLong,
}

impl<'a> Lines<'a> {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path, stdin: &'a mut dyn Read, bar: &ProgressBar) -> anyhow::Result<Self> {
        let raw: Box<dyn Read + 'a> = if is_stdin(path) {
            Box::new(stdin)
        } else {
            Box::new(File::open(path).with_context(|| path.display().to_string())?)
        };
        let text = unzipped(bar.wrap_read(raw)).with_context(|| path.display().to_string())?;
        Ok(Self { text, bytes: Vec::new(), number: 0 })
    }

    /// The next line without its end, what is no UTF-8 in it replaced; `None` at the end.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.bytes.clear();
        let most = LONGEST_LINE as u64 + 2;
        if self.text.by_ref().take(most).read_until(b'\n', &mut self.bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.bytes.ends_with(b"\n");
        if self.bytes.len() > LONGEST_LINE && !ended {
            self.text.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        let mut text = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        if self.number == 1 {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        Ok(Some(Line::Text(String::from_utf8_lossy(text))))
    }

    /// The number of the line read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// The text of what may be gzipped, as its first bytes tell.
fn unzipped<'a>(mut raw: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut magic = Vec::new();
    raw.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == [0x1f, 0x8b];
    let all = BufReader::with_capacity(1 << 16, Cursor::new(magic).chain(raw));
    Ok(if is_gzip { Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(all))) } else { Box::new(all) })
}
