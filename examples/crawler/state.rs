//! What was answered, in a file that outlives the program: a line for each answer, when it is there.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use reqwest::{StatusCode, Url};

/// A file of answers, to write to.
pub(crate) struct State {
    path: PathBuf,
    file: Mutex<File>,
}

impl State {
    /// The file at `path`, made where there is none, and the URLs that were answered as it says.
    ///
    /// The end of a line that was being written when the program was killed is taken back.
    ///
    /// # Errors
    /// A file that cannot be read and written, or that is something else.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, HashSet<String>)> {
        let name = path.display();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = file.with_context(|| format!("cannot open {name}"))?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (lines, torn) = text.split_at(whole);
        let mut done = HashSet::new();
        for (line, number) in lines.lines().zip(1..) {
            let url = answered(line).with_context(|| {
                format!("{name} is no state of a crawl: line {number} is not a status and a URL, as in \"200 http://host/path\"")
            })?;
            done.insert(url.to_owned());
        }
        anyhow::ensure!(is_torn(torn), "{name} is no state of a crawl");
        if !torn.is_empty() {
            file.set_len(whole as u64).with_context(|| format!("cannot write to {name}"))?;
        }
        Ok((Self { path: path.to_owned(), file: Mutex::new(file) }, done))
    }

    /// Notes the answer to `url`, in one write; a refusal is none, and is asked for again.
    ///
    /// # Errors
    /// The line was not written.
    pub(crate) fn note(&self, url: &Url, status: StatusCode) -> anyhow::Result<()> {
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(());
        }
        let line = format!("{} {url}\n", status.as_u16());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).with_context(|| format!("cannot write to {}", self.path.display()))
    }
}

/// The URL of a line.
fn answered(line: &str) -> Option<&str> {
    let (status, url) = line.split_once(' ')?;
    (status.len() == 3 && status.parse::<u16>().is_ok() && url.contains("://")).then_some(url)
}

/// Whether a line can begin like this.
fn is_torn(line: &str) -> bool {
    line.bytes().take(4).enumerate().all(|(at, byte)| if at < 3 { byte.is_ascii_digit() } else { byte == b' ' })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process};

    fn file(name: &str, text: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("limiter-crawler-{name}-{}", process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn what_was_noted_is_read_again_and_a_torn_line_is_not() {
        let path = file("torn", "200 http://a.example/1\n404 http://a.example/2\n200 http://a.exam");
        let (state, done) = State::open(&path).unwrap();
        assert_eq!(done.len(), 2);
        let url = |n| Url::parse(&format!("http://a.example/{n}")).unwrap();
        state.note(&url(3), StatusCode::OK).unwrap();
        state.note(&url(4), StatusCode::TOO_MANY_REQUESTS).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "200 http://a.example/1\n404 http://a.example/2\n200 http://a.example/3\n");
        assert!(State::open(&path).unwrap().1.contains(url(3).as_str()));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn another_file_is_left_as_it_is() {
        for (list, complaint) in [
            ("http://a.example/1\nhttp://a.example/2", "line 1 is not a status and a URL"),
            ("a b", "is no state of a crawl"),
            ("2001", "is no state of a crawl"),
        ] {
            let path = file("list", list);
            let error = State::open(&path).err().unwrap();
            assert!(format!("{error:#}").contains(complaint), "{error:#}");
            assert_eq!(fs::read_to_string(&path).unwrap(), list);
            fs::remove_file(path).unwrap();
        }
    }
}
