//! The requests of all files, in memory.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use limiter_core::Timestamp;

use super::{
    BadArguments,
    args::{Args, is_stdin},
    input::{Format, LineReader, Malformed, Record},
    progress,
    source::{Line, Lines},
    timeline::{Peak, Timeline},
    utc::SECOND,
};

/// The lines that tell a file's format.
const SAMPLE: usize = 20;

/// The malformed lines that are shown.
const SHOWN: usize = 10;

/// What the files tell.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Event>,
    /// Each key once; an event holds its place here.
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) files: Vec<LogFile>,
    pub(crate) steps_back: StepsBack,
    /// Whether [`sort`](Self::sort) put the events in the order of their times.
    pub(crate) is_sorted: bool,
    /// The first malformed lines.
    pub(crate) malformed: Vec<MalformedLine>,
    places: HashMap<Arc<str>, usize>,
}

/// A request.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    /// Its place among the log's keys.
    pub(crate) key: usize,
    pub(crate) cost: u64,
}

/// One file, or standard input.
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) format: Option<Format>,
    pub(crate) requests: u64,
    pub(crate) malformed: u64,
}

/// Requests earlier than the one before them.
#[derive(Default)]
pub(crate) struct StepsBack {
    pub(crate) count: u64,
    pub(crate) longest: Duration,
}

pub(crate) struct MalformedLine {
    pub(crate) file: usize,
    pub(crate) number: u64,
    pub(crate) reason: Malformed,
}

/// Reads the files of `args`; with the error, if there was one, that ended the reading early.
pub(crate) fn read(args: &Args, stdin: &mut dyn Read) -> anyhow::Result<(Log, Option<anyhow::Error>)> {
    let bar = progress::of_bytes(total_bytes(args)?);
    let (mut log, mut cut) = (Log::default(), None);
    for path in &args.files {
        let mut lines = Lines::open(path, stdin, &bar)?;
        let name = if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
        bar.set_message(name.clone());
        if let Err(error) = log.read_file(name.clone(), &mut lines, args)? {
            cut.get_or_insert(anyhow::Error::new(error).context(name));
        }
    }
    bar.finish_and_clear();
    Ok((log, cut))
}

/// The size of all files; `None` where standard input, whose size is not known, is among them.
fn total_bytes(args: &Args) -> anyhow::Result<Option<u64>> {
    let size = |path: &Path| fs::metadata(path).map(|data| data.len()).with_context(|| path.display().to_string());
    let files = args.files.iter().filter(|path| !is_stdin(path));
    let total = files.map(|path| size(path)).sum::<anyhow::Result<u64>>()?;
    Ok((!args.files.iter().any(|path| is_stdin(path))).then_some(total))
}

impl Log {
    /// Adds a file's requests; the inner error is one of reading, after what came before it was added.
    fn read_file(&mut self, name: String, lines: &mut Lines<'_>, args: &Args) -> anyhow::Result<io::Result<()>> {
        self.files.push(LogFile { name, format: None, requests: 0, malformed: 0 });
        let mut sample = Vec::new();
        let sampled = sample_lines(lines, &mut sample);
        if sample.is_empty() {
            return Ok(sampled);
        }
        let texts: Vec<_> = sample.iter().filter_map(|(_, line)| line.as_deref()).collect();
        let reader = LineReader::new(args.format, &args.fields(), &texts).context(BadArguments)?;
        if let Some(file) = self.files.last_mut() {
            file.format = Some(reader.format());
        }
        let header = sample.iter().position(|(_, line)| line.is_some()).filter(|_| reader.has_header());
        for (number, line) in sample.iter().enumerate().filter(|(i, _)| Some(*i) != header).map(|(_, line)| line) {
            let record = line.as_deref().ok_or(Malformed::TooLong).and_then(|line| reader.read(line));
            self.add(*number, record);
        }
        Ok(sampled.and_then(|()| self.read_rest(lines, &reader)))
    }

    fn read_rest(&mut self, lines: &mut Lines<'_>, reader: &LineReader) -> io::Result<()> {
        loop {
            let number = lines.number() + 1;
            match lines.next_line()? {
                Some(Line::Text(line)) if line.trim_ascii().is_empty() => {}
                Some(Line::Text(line)) => self.add(number, reader.read(&line)),
                Some(Line::TooLong) => self.add(number, Err(Malformed::TooLong)),
                None => return Ok(()),
            }
        }
    }

    fn add(&mut self, number: u64, record: Result<Record<'_>, Malformed>) {
        let index = self.files.len() - 1;
        let file = &mut self.files[index];
        match record {
            Ok(record) => {
                file.requests += 1;
                self.push(&record);
            }
            Err(reason) => {
                file.malformed += 1;
                if self.malformed.len() < SHOWN {
                    self.malformed.push(MalformedLine { file: index, number, reason });
                }
            }
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        if let Some(last) = self.events.last().filter(|last| record.at < last.at) {
            self.steps_back.count += 1;
            self.steps_back.longest = self.steps_back.longest.max(last.at.saturating_since(record.at));
        }
        let key = self.place(&record.key);
        self.events.push(Event { at: record.at, key, cost: record.cost });
    }

    fn place(&mut self, key: &str) -> usize {
        if let Some(&place) = self.places.get(key) {
            return place;
        }
        let key = Arc::<str>::from(key);
        self.keys.push(Arc::clone(&key));
        self.places.insert(key, self.keys.len() - 1);
        self.keys.len() - 1
    }

    /// Puts the events in the order of their times; those of one instant stay as they stood.
    pub(crate) fn sort(&mut self) {
        self.events.sort_by_key(|event| event.at);
        self.is_sorted = true;
    }

    /// The earliest and the latest time.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || self.events.iter().map(|event| event.at);
        Some((times().min()?, times().max()?))
    }

    /// The cells of the plots; whole seconds where the log knows nothing finer.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        let is_whole = |event: &Event| event.at.as_micros().is_multiple_of(SECOND);
        let finest = if self.events.iter().all(is_whole) { SECOND } else { 1 };
        self.span().map(|span| Timeline::covering(span, finest))
    }

    /// How many requests there are in each cell.
    pub(crate) fn over_time(&self, timeline: Timeline) -> Vec<u64> {
        let mut counts = vec![0; timeline.cells];
        for event in &self.events {
            counts[timeline.cell(event.at)] += 1;
        }
        counts
    }

    pub(crate) fn peak(&self) -> Peak {
        Peak::of(self.events.iter().map(|event| event.at))
    }

    pub(crate) fn malformed_count(&self) -> u64 {
        self.files.iter().map(|file| file.malformed).sum()
    }

    /// Whether any request takes another number of units than 1.
    pub(crate) fn has_costs(&self) -> bool {
        self.events.iter().any(|event| event.cost != 1)
    }
}

/// Reads the first lines that are not blank; without their text where they are too long.
fn sample_lines(lines: &mut Lines<'_>, sample: &mut Vec<(u64, Option<String>)>) -> io::Result<()> {
    while sample.len() < SAMPLE {
        let number = lines.number() + 1;
        match lines.next_line()? {
            Some(Line::Text(line)) if line.trim_ascii().is_empty() => {}
            Some(Line::Text(line)) => sample.push((number, Some(line.into_owned()))),
            Some(Line::TooLong) => sample.push((number, None)),
            None => break,
        }
    }
    Ok(())
}
