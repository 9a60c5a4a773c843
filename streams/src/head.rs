//! The head of a direction: a varint of its length, then the message.

use std::io::{self, ErrorKind};

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::MAX_HEAD;

pub async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> io::Result<()> {
    let len = message.encoded_len();
    if len > MAX_HEAD {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("a head of {len} bytes; at most {MAX_HEAD} are carried")));
    }
    to.write_all(&message.encode_length_delimited_to_vec()).await
}

pub async fn read<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let len = length(from).await?;
    if len > MAX_HEAD {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a head of {len} bytes; at most {MAX_HEAD} are taken")));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await?;
    M::decode(bytes.as_slice()).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

async fn length(from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    let mut len = 0;
    for shift in [0, 7, 14] {
        let byte = from.read_u8().await?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(len);
        }
    }
    Err(io::Error::new(ErrorKind::InvalidData, "the length of a head cannot be read"))
}
