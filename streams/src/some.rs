//! Reading without a buffer that waits: a thousand silent shells hold none.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at once: one record of TLS.
const AT_ONCE: usize = 16 << 10;

/// What one read gives; empty at the end. Cancellation loses nothing.
///
/// # Errors
/// As of the reader.
pub async fn read_some(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    std::future::poll_fn(|context| {
        let mut room = [MaybeUninit::uninit(); AT_ONCE];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *from).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

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
