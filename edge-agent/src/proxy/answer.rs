//! What the hub is answered: the server's words, or the agent's own.

use bus_schema::message::stream::{Header, ResponseHead};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use streams::{Code, Reader, Stream, Writer};
use tokio::io::AsyncWriteExt;

use super::refusal::Refusal;
use super::request::is_hop_by_hop;
use crate::apiserver::{AnswerBody, BoxIo, Pool};
use crate::cluster::failure::chain;

/// Bytes of an answer that a stream is given at once.
const AT_ONCE: usize = 16 << 10;

/// What became of a request that was sent, and not answered.
pub fn broken(error: &hyper::Error) -> Refusal {
    match error.is_user() {
        true => Refusal::malformed(chain(error)),
        false => {
            Refusal::bad_gateway(format!("the connection broke before the server answered, what it did is not known: {}", chain(error)))
        }
    }
}

/// Answers in the server's place.
pub async fn refuse(stream: Stream, refusal: &Refusal) {
    let (reader, mut writer) = stream.into_split();
    tokio::join!(say(refusal, &mut writer), drain(reader));
}

pub async fn say(refusal: &Refusal, writer: &mut Writer) {
    let (head, body) = refusal.answer();
    let said = async {
        writer.write_head(&head).await?;
        writer.write_all(&body).await?;
        writer.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "an answer could not be given");
    }
}

/// Reads what nobody wants, so that the stream ends when the hub has said all and not before it has heard all.
pub async fn drain(mut reader: Reader) {
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
}

/// Passes an answer on, and keeps its connection if it can be used again.
pub async fn relay(response: Response<AnswerBody>, writer: &mut Writer, pool: Option<&Pool>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return say(&Refusal::bad_gateway("the server goes over to another protocol, which nobody asked for"), writer).await;
    }
    if let Err(error) = writer.write_head(&response_head(&response)).await {
        return say(&Refusal::bad_gateway(format!("the server's answer can't be passed on: {error}")), writer).await;
    }
    let mut body = response.into_body();
    while let Some(piece) = body.gathered(AT_ONCE).await {
        match piece {
            Ok(piece) => {
                if body.connection().beside(writer.write_all(&piece)).await.is_err() {
                    return;
                }
            }
            Err(error) => return writer.fail(Code::Failed, &format!("the server's answer broke off: {}", chain(&error))),
        }
    }
    if writer.shutdown().await.is_err() {
        return;
    }
    if let Some(pool) = pool {
        pool.keep(body.into_connection()).await;
    }
}

pub fn response_head<B>(response: &Response<B>) -> ResponseHead {
    let nominated: Vec<String> = response.headers().get_all(header::CONNECTION).iter().flat_map(tokens).collect();
    let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let passes = |name: &str| (is_switch && name == "upgrade") || !(is_hop_by_hop(name) || nominated.iter().any(|other| other == name));
    let passing = response.headers().iter().filter(|(name, _)| passes(name.as_str()));
    let headers = passing.map(|(name, value)| Header { name: name.to_string(), value: value.as_bytes().to_vec() }).collect();
    ResponseHead { status: response.status().as_u16().into(), headers }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = String> {
    String::from_utf8_lossy(value.as_bytes()).split(',').map(|token| token.trim().to_ascii_lowercase()).collect::<Vec<_>>().into_iter()
}

/// The bare connection after a switch, and what it has brought already.
pub async fn upgraded(mut response: Response<AnswerBody>) -> Result<(BoxIo, bytes::Bytes), String> {
    let switched = hyper::upgrade::on(&mut response);
    let upgraded = response.body_mut().connection().beside(switched).await.map_err(|error| chain(&error))?;
    let parts = upgraded.downcast::<TokioIo<BoxIo>>().map_err(|_| "the connection is of another kind".to_owned())?;
    Ok((parts.io.into_inner(), parts.read_buf))
}
