//! The server's side of the NBD protocol, as much of it as QEMU's client uses.
//!
//! Source: "The NBD protocol" (`doc/proto.md` of the nbd project), fixed newstyle negotiation and
//! simple replies. All numbers are big-endian.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail, ensure};

use crate::limits::NBD_REQUEST_BYTES_MAX;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// Handshake flags: fixed newstyle, no zeroes.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// Transmission flags: has flags, send flush, send FUA, send trim, send write zeroes.
const TRANSMISSION_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;

const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
/// An export's name is at most 4096 bytes, and options carry little else.
const OPTION_BYTES_MAX: u32 = 16 << 10;
/// More options than any client has to send.
const OPTIONS_MAX: usize = 32;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_TRIM: u16 = 4;
const CMD_WRITE_ZEROES: u16 = 6;
const CMD_FLAG_FUA: u16 = 1;

const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// A request on an export, within its bounds.
#[derive(Debug)]
pub(crate) enum Request<'data> {
    Read {
        offset: u64,
        data: &'data mut [u8],
    },
    Write {
        offset: u64,
        data: &'data [u8],
        fua: bool,
    },
    /// Discard, or write zeroes.
    Zero {
        offset: u64,
        len: u64,
        fua: bool,
    },
    Flush,
}

/// Serves one connection to its end. `answer` returns `None` when it is to be served no more.
///
/// # Errors
/// When the client breaks the protocol; its death is an end like any other.
pub(crate) fn serve(
    stream: &UnixStream,
    size: u64,
    mut answer: impl FnMut(Request<'_>) -> Option<Result<()>>,
) -> Result<()> {
    if !negotiate(stream, size)? {
        return Ok(());
    }
    let mut data = Vec::new();
    while let Some(header) = Header::read(stream)? {
        if header.command == CMD_DISC {
            return Ok(());
        }
        ensure!(header.len <= NBD_REQUEST_BYTES_MAX || !header.has_data(), "request too long");
        data.resize(if header.has_data() { usize::try_from(header.len)? } else { 0 }, 0);
        if header.command == CMD_WRITE && !read_or_end(stream, &mut data)? {
            return Ok(());
        }
        let error = match header.request(&mut data, size) {
            None => EINVAL,
            Some(request) => match answer(request) {
                None => return Ok(()),
                Some(Ok(())) => 0,
                Some(Err(error)) => {
                    eprintln!("lab: volatile disk: {error:#}");
                    EIO
                }
            },
        };
        let mut reply = Vec::with_capacity(16);
        reply.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
        reply.extend(error.to_be_bytes());
        reply.extend(header.cookie.to_be_bytes());
        if header.command == CMD_READ && error == 0 {
            reply.extend_from_slice(&data);
        }
        if !write_or_end(stream, &reply)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Up to the transmission phase; false when the client went away before it.
fn negotiate(stream: &UnixStream, size: u64) -> Result<bool> {
    let mut hello = Vec::new();
    hello.extend(NBDMAGIC.to_be_bytes());
    hello.extend(IHAVEOPT.to_be_bytes());
    hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
    let mut client_flags = [0; 4];
    if !write_or_end(stream, &hello)? || !read_or_end(stream, &mut client_flags)? {
        return Ok(false);
    }
    for _ in 0..OPTIONS_MAX {
        let mut head = [0; 16];
        if !read_or_end(stream, &mut head)? {
            return Ok(false);
        }
        let (magic, option, len) =
            (be_u64(&head[..8])?, be_u32(&head[8..12])?, be_u32(&head[12..])?);
        ensure!(magic == IHAVEOPT, "an option without its magic");
        ensure!(len <= OPTION_BYTES_MAX, "an option of {len} bytes");
        if !read_or_end(stream, &mut vec![0; usize::try_from(len)?])? {
            return Ok(false);
        }
        let replied = match option {
            OPT_GO | OPT_INFO => {
                let mut export = Vec::new();
                export.extend(INFO_EXPORT.to_be_bytes());
                export.extend(size.to_be_bytes());
                export.extend(TRANSMISSION_FLAGS.to_be_bytes());
                reply_option(stream, option, REP_INFO, &export)?
                    && reply_option(stream, option, REP_ACK, &[])?
            }
            OPT_ABORT => reply_option(stream, option, REP_ACK, &[])?,
            _ => reply_option(stream, option, REP_ERR_UNSUP, &[])?,
        };
        if !replied || option == OPT_ABORT {
            return Ok(false);
        }
        if option == OPT_GO {
            return Ok(true);
        }
    }
    bail!("{OPTIONS_MAX} options and no end")
}

fn reply_option(stream: &UnixStream, option: u32, kind: u32, data: &[u8]) -> Result<bool> {
    let mut reply = Vec::new();
    reply.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(u32::try_from(data.len())?.to_be_bytes());
    reply.extend_from_slice(data);
    write_or_end(stream, &reply)
}

#[derive(Debug)]
struct Header {
    flags: u16,
    command: u16,
    cookie: u64,
    offset: u64,
    len: u32,
}

impl Header {
    fn read(stream: &UnixStream) -> Result<Option<Self>> {
        let mut bytes = [0; 28];
        if !read_or_end(stream, &mut bytes)? {
            return Ok(None);
        }
        ensure!(be_u32(&bytes[..4])? == REQUEST_MAGIC, "a request without its magic");
        Ok(Some(Self {
            flags: be_u16(&bytes[4..6])?,
            command: be_u16(&bytes[6..8])?,
            cookie: be_u64(&bytes[8..16])?,
            offset: be_u64(&bytes[16..24])?,
            len: be_u32(&bytes[24..])?,
        }))
    }

    fn has_data(&self) -> bool {
        matches!(self.command, CMD_READ | CMD_WRITE)
    }

    /// `None` when it is unknown or does not lie within the export.
    fn request<'data>(&self, data: &'data mut [u8], size: u64) -> Option<Request<'data>> {
        let (offset, len) = (self.offset, u64::from(self.len));
        if offset.checked_add(len)? > size {
            return None;
        }
        let fua = self.flags & CMD_FLAG_FUA != 0;
        match self.command {
            CMD_READ => Some(Request::Read { offset, data }),
            CMD_WRITE => Some(Request::Write { offset, data, fua }),
            CMD_FLUSH => Some(Request::Flush),
            CMD_TRIM | CMD_WRITE_ZEROES => Some(Request::Zero { offset, len, fua }),
            _ => None,
        }
    }
}

/// False at the end of the stream: a killed QEMU leaves in the middle of anything.
fn read_or_end(mut stream: &UnixStream, bytes: &mut [u8]) -> Result<bool> {
    match stream.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if is_end(error.kind()) => Ok(false),
        Err(error) => Err(error).context("reading"),
    }
}

fn write_or_end(mut stream: &UnixStream, bytes: &[u8]) -> Result<bool> {
    match stream.write_all(bytes) {
        Ok(()) => Ok(true),
        Err(error) if is_end(error.kind()) => Ok(false),
        Err(error) => Err(error).context("writing"),
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn be_u16(bytes: &[u8]) -> Result<u16> {
    Ok(u16::from_be_bytes(bytes.try_into().context("2 bytes")?))
}

fn be_u32(bytes: &[u8]) -> Result<u32> {
    Ok(u32::from_be_bytes(bytes.try_into().context("4 bytes")?))
}

fn be_u64(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(bytes.try_into().context("8 bytes")?))
}
