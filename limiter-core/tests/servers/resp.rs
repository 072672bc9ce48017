//! As much of a Redis client as readiness, faults and looks into a server need. Not the one under test.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Text(Vec<u8>),
    Integer(i64),
    Error(String),
    List(Vec<Reply>),
    Nil,
}

impl Reply {
    /// The text of a text, the digits of an integer, the message of an error, nothing of nil; a list's, one a line.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The parts of a list; of anything else, itself.
    pub fn list(&self) -> &[Reply] {
        match self {
            Reply::List(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }

    pub fn integer(&self) -> i64 {
        self.text().parse().unwrap_or_else(|_| panic!("not an integer: {self:?}"))
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// The value of `name:value`, a line of INFO.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Reply::Integer(integer) => write!(f, "{integer}"),
            Reply::Error(message) => f.write_str(message),
            Reply::List(parts) => {
                let lines: Vec<String> = parts.iter().map(Reply::text).collect();
                f.write_str(&lines.join("\n"))
            }
            Reply::Nil => Ok(()),
        }
    }
}

pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// The socket itself, to close it from elsewhere or to wait longer.
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    pub fn command(&mut self, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend(word);
            request.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.read()
    }

    pub fn read(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let [kind, rest @ .., b'\r', b'\n'] = line.as_slice() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let rest = String::from_utf8_lossy(rest).into_owned();
        let number = || rest.parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        Ok(match kind {
            b'+' => Reply::Text(rest.into_bytes()),
            b'-' => Reply::Error(rest),
            b':' => Reply::Integer(number()?),
            b'$' | b'*' if number()? < 0 => Reply::Nil,
            b'$' => {
                let mut bytes = vec![0; usize::try_from(number()?).unwrap() + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Text(bytes)
            }
            b'*' => Reply::List((0..number()?).map(|_| self.read()).collect::<io::Result<_>>()?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// One command on a connection of its own.
pub fn command(port: u16, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
    Connection::open(port)?.command(words)
}

pub fn pings(port: u16) -> bool {
    command(port, &["PING"]).is_ok_and(|reply| reply.text() == "PONG")
}
