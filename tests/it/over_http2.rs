//! One request over HTTP/2, as the h2 crate sends it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::client::Response;

const PATIENCE: Duration = Duration::from_secs(20);

/// The answer to a request without a body.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Response {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let answered =
        async { tokio::time::timeout(PATIENCE, answer(address, method, path, fields)).await };
    runtime.block_on(answered).expect("in time").unwrap()
}

async fn answer(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<Response, h2::Error> {
    let socket = TcpStream::connect(address).await.map_err(lost)?;
    let (send, connection) = h2::client::handshake(socket).await?;
    drop(tokio::spawn(connection));
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (answer, _) = send
        .ready()
        .await?
        .send_request(request.body(()).unwrap(), true)?;
    let (head, mut body) = answer.await?.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    let mut answer = Response {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body: Vec::new(),
        keep_alive: true,
    };
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        answer.body.extend_from_slice(&piece);
    }
    Ok(answer)
}

fn lost(error: io::Error) -> h2::Error {
    panic!("{error}")
}
