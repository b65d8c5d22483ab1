//! Requests whose body goes out piece by piece: at a pace, or in step with the creators of a race.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::request::Parts;
use http::{Request, Response};
use opendal::{Buffer, Error, ErrorKind, HttpBody};
use reqwest::Client;
use tokio::sync::Barrier;

use super::pace::Pace;

/// What is read of an answer to a PUT.
const ANSWER_BYTES: usize = 64 << 10;

/// Sends half of a body, waits for the others of a race, then sends the rest.
pub(super) async fn held_back(
    client: &Client,
    (parts, body): (Parts, Bytes),
    gate: Arc<Barrier>,
) -> opendal::Result<Response<HttpBody>> {
    let half = body.len() / 2;
    let pieces = [(None, body.slice(..half)), (Some(gate), body.slice(half..))];
    let pieces = stream::unfold(pieces.into_iter(), |mut pieces| async {
        let (gate, piece) = pieces.next()?;
        if let Some(gate) = gate {
            gate.wait().await;
        }
        Some((Ok::<_, io::Error>(piece), pieces))
    });
    send(client, parts, pieces).await
}

/// Sends a body no faster than it may be.
pub(super) async fn paced(
    client: &Client,
    (parts, body): (Parts, Bytes),
    pace: Arc<Pace>,
) -> opendal::Result<Response<HttpBody>> {
    let pieces = stream::unfold((body, pace), |(mut rest, pace)| async {
        let piece = rest.split_to(pace.piece().min(rest.len()));
        pace.pass(piece.len()).await;
        (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), (rest, pace)))
    });
    send(client, parts, pieces).await
}

async fn send(
    client: &Client,
    parts: Parts,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> opendal::Result<Response<HttpBody>> {
    let failed = |error: reqwest::Error| Error::new(ErrorKind::Unexpected, "send http request").set_source(error);
    let request = Request::from_parts(parts, reqwest::Body::wrap_stream(pieces));
    let mut answer = client.execute(reqwest::Request::try_from(request).map_err(failed)?).await.map_err(failed)?;
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES
        && let Some(piece) = answer.chunk().await.map_err(failed)?
    {
        body.extend_from_slice(&piece);
    }
    let length = body.len() as u64;
    let mut told = Response::new(HttpBody::new(stream::iter([Ok(Buffer::from(body))]), Some(length)));
    (*told.status_mut(), *told.headers_mut()) = (answer.status(), answer.headers().clone());
    Ok(told)
}
