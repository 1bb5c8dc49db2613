//! A tiny web server that reports its clients, and a client for it.
//!
//! `GET /bytes/N` serves N bytes of [`Noise`], `GET /whoami` the client's address as the server
//! sees it, `PUT` answers with the SHA-256 of what was sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::noise::{Digest, Noise};
use crate::clock::{LIMIT, Stopwatch};
use crate::namespace::Namespace;

/// A running web server.
#[derive(Debug)]
pub struct HttpServer {
    clients: Receiver<SocketAddr>,
}

/// A finished download.
#[derive(Debug, Clone, Copy)]
pub struct Download {
    /// Bytes of the body.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: Digest,
    /// From connect to the last byte.
    pub time: Duration,
    /// The client's end of the connection.
    pub local: SocketAddr,
}

impl HttpServer {
    /// Starts it at `address` in `namespace`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener = namespace.tcp_listener(address)?;
        let (sender, clients) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((stream, client)) = listener.accept() {
                let sender = sender.clone();
                // A client that goes away in the middle concerns nobody else.
                thread::spawn(move || serve(&stream, client, &sender));
            }
        });
        Ok(Self { clients })
    }

    /// The address of the next client that sent a request.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub fn next_client(&self) -> Result<SocketAddr> {
        self.clients.recv_timeout(LIMIT).context("the web server saw no client")
    }
}

/// Fetches `bytes` of noise from an [`HttpServer`].
///
/// # Errors
/// When the connection or the answer fails.
pub fn download(namespace: &Namespace, server: SocketAddr, bytes: u64) -> Result<Download> {
    let watch = Stopwatch::start();
    let mut stream = namespace.enter(|| TcpStream::connect_timeout(&server, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /bytes/{bytes} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(LARGE, &stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "the web server answered {line}");
    while reader.read_line(&mut line)? > 2 {}
    let digest = Digest::of((&mut reader).take(bytes))?;
    Ok(Download { bytes, digest, time: watch.elapsed(), local: stream.local_addr()? })
}

/// One request of one connection; every answer closes it.
fn serve(stream: &TcpStream, client: SocketAddr, clients: &Sender<SocketAddr>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(LARGE, stream);
    let request = Request::read(&mut reader)?;
    // Nobody may be interested any more.
    let _ = clients.send(client);
    let noise = request.path.strip_prefix("/bytes/").and_then(|bytes| bytes.parse::<u64>().ok());
    match noise {
        Some(bytes) => {
            head(stream, bytes)?;
            send_noise(stream, bytes)
        }
        None if request.path == "/whoami" => text(stream, &client.to_string()),
        None => {
            if request.wants_continue {
                write!(&*stream, "HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let digest = Digest::of((&mut reader).take(request.length))?;
            text(stream, &digest.to_string())
        }
    }
}

/// As much of a request as this server needs.
#[derive(Debug, Default)]
struct Request {
    path: String,
    length: u64,
    wants_continue: bool,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut request = Self { path, ..Self::default() };
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                return Ok(request);
            }
            if let Some(length) = header.strip_prefix("content-length:") {
                request.length = length.trim().parse().map_err(io::Error::other)?;
            }
            request.wants_continue |= header == "expect: 100-continue";
        }
    }
}

fn send_noise(mut stream: &TcpStream, mut bytes: u64) -> io::Result<()> {
    let mut noise = Noise::default();
    let mut buffer = vec![0; LARGE];
    while bytes > 0 {
        let length = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        noise.read_exact(&mut buffer[..length])?;
        stream.write_all(&buffer[..length])?;
        bytes -= length as u64;
    }
    Ok(())
}

fn text(stream: &TcpStream, body: &str) -> io::Result<()> {
    head(stream, body.len() as u64)?;
    (&*stream).write_all(body.as_bytes())
}

fn head(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// Bytes per read and write: several super-packets.
const LARGE: usize = 1 << 18;
