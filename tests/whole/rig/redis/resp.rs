//! A Redis client of the tests' own: one request, one reply, over TCP or a Unix socket. It shares
//! nothing with the server under test, and never reconnects: what it finds is what was there.

use crate::rig::PATIENCE;
use std::collections::BTreeMap;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where a Redis listens.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nothing,
    List(Vec<Reply>),
}

impl Reply {
    /// A text, or nothing where there is no such key.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Status(text) | Self::Error(text) => Some(text.clone()),
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Nothing => None,
            Self::Number(_) | Self::List(_) => panic!("no text: {self:?}"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let Self::Bytes(bytes) = self else { panic!("no bytes: {self:?}") };
        bytes
    }

    pub(crate) fn list(self) -> Vec<Self> {
        let Self::List(list) = self else { panic!("no list: {self:?}") };
        list
    }

    /// The texts of a list, sorted.
    pub(crate) fn texts(self) -> Vec<String> {
        let mut texts: Vec<String> = self.list().iter().filter_map(Self::text).collect();
        texts.sort();
        texts
    }

    /// The fields of a hash.
    pub(crate) fn fields(self) -> BTreeMap<String, String> {
        let list = self.list();
        let text = |reply: &Self| reply.text().expect("a text");
        list.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }

    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, Self::Error(text) if text.starts_with("MOVED"))
    }
}

pub(crate) struct Client {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
}

impl Client {
    pub(crate) fn connect(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let socket = TcpStream::connect(address)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::over(socket.try_clone()?, socket))
            }
            Place::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::over(socket.try_clone()?, socket))
            }
        }
    }

    fn over(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer) }
    }

    /// Asks, and takes an error for what it is.
    pub(crate) fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.tell(words)?;
        self.read()
    }

    /// Asks what must not fail.
    pub(crate) fn call(&mut self, words: &[&str]) -> Reply {
        let reply = self.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
        reply
    }

    /// Sends without waiting for the reply.
    pub(crate) fn tell(&mut self, words: &[&str]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.writer.write_all(&bytes)
    }

    /// The next reply, or message.
    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(line))?;
        let number = || rest.parse::<i64>().map_err(|_| strange(line));
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => match usize::try_from(number()?) {
                Ok(length) => self.bulk(length),
                Err(_) => Ok(Reply::Nothing),
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    (0..length).map(|_| self.read()).collect::<io::Result<_>>().map(Reply::List)
                }
                Err(_) => Ok(Reply::Nothing),
            },
            _ => Err(strange(line)),
        }
    }

    fn bulk(&mut self, length: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Reply::Bytes(bytes))
    }
}

fn strange(line: &str) -> io::Error {
    io::Error::other(format!("no reply of Redis: {line:?}"))
}
