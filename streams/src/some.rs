//! Reading without a buffer that waits: a thousand silent shells hold none.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes read at once: one record of TLS.
const AT_ONCE: usize = 16 << 10;

/// What one read gives; empty at the end. Cancellation loses nothing.
///
/// # Errors
/// As of the reader.
pub async fn read_some(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    std::future::poll_fn(|context| poll_some(from, context, |_, read| Ok(Bytes::copy_from_slice(read)))).await
}

/// Writes what one read gives, and returns how much that was; 0 at the end. Only what is not taken at once is copied in between. Not to be
/// cancelled and called again.
///
/// # Errors
/// As of the reader and the writer.
pub async fn pass_some(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
    let passed = std::future::poll_fn(|context| {
        poll_some(from, context, |context, read| {
            let taken = match read.is_empty() {
                true => Poll::Pending,
                false => Pin::new(&mut *to).poll_write(context, read),
            };
            let taken = if let Poll::Ready(taken) = taken { taken? } else { 0 };
            Ok((read.len(), Bytes::copy_from_slice(&read[taken..])))
        })
    });
    let (read, rest) = passed.await?;
    to.write_all(&rest).await?;
    Ok(read)
}

fn poll_some<T>(
    from: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    with: impl FnOnce(&mut Context<'_>, &[u8]) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    let mut room = [MaybeUninit::uninit(); AT_ONCE];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(from).poll_read(context, &mut buffer))?;
    Poll::Ready(with(context, buffer.filled()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_is_all_of_it_in_order_however_little_is_taken_at_once() {
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let (mut near, far) = tokio::io::duplex(700);
        let passing = async {
            let mut from = &sent[..];
            while pass_some(&mut from, &mut near).await.unwrap() > 0 {}
            drop(near);
        };
        let mut got = Vec::new();
        let mut reading = far;
        let (_, read) = tokio::join!(passing, tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut got));
        read.unwrap();
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn what_was_read_is_all_of_it_in_order() {
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let (mut from, mut got) = (&sent[..], Vec::new());
        loop {
            let some = read_some(&mut from).await.unwrap();
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= AT_ONCE);
            got.extend_from_slice(&some);
        }
        assert_eq!(got, sent);
    }
}
