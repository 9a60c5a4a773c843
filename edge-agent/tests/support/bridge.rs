//! Both ends of a link in one process: the test speaks as the hub, the agent's performer answers.

use bus_schema::message::stream::{Header, RequestHead, ResponseHead, User, request_head::Identity};
use edge_agent::apiserver::Access;
use edge_agent::proxy::{self, Performer, Settings};
use streams::{Endpoint, Limits, Role, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Bridge {
    pub hub: Endpoint,
    pub agent: Endpoint,
    _stop: DropGuard,
}

impl Bridge {
    /// A performer for this API server, behind a link.
    pub fn new(access: Access, settings: Settings) -> Bridge {
        // As the agent's start does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let performer = Performer::new(access, &settings).expect("the settings are good");
        let (hub, agent) = (Endpoint::new(Role::Hub, Limits::default()), Endpoint::new(Role::Agent, Limits::default()));
        let stop = CancellationToken::new();
        tokio::spawn(proxy::run(agent.clone(), performer, stop.clone()));
        let (one, other, ended) = (hub.clone(), agent.clone(), stop.clone());
        tokio::spawn(async move { ended.run_until_cancelled(streams::loopback::connect(&one, &other)).await });
        Bridge { hub, agent, _stop: stop.drop_guard() }
    }

    #[allow(dead_code)] // not by every test program
    /// A performer whose API server is a plain one at this port of loopback.
    pub fn to_port(port: u16, settings: Settings) -> Bridge {
        Bridge::new(Access::to(&format!("http://127.0.0.1:{port}")).expect("a URL"), settings)
    }

    /// Sends a request and its whole body.
    pub async fn send(&self, head: &RequestHead, body: &[u8]) -> Stream {
        let mut stream = self.hub.open().expect("there is room");
        stream.write_head(head).await.expect("the head is sent");
        // An agent that has answered may not want the rest.
        let _ = stream.write_all(body).await;
        stream.shutdown().await.expect("half-closed");
        stream
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&self, head: &RequestHead, body: &[u8]) -> (u32, Vec<u8>) {
        let mut stream = self.send(head, body).await;
        let answer: ResponseHead = stream.read_head().await.expect("an answer");
        let mut body = Vec::new();
        stream.read_to_end(&mut body).await.expect("its body");
        (answer.status, body)
    }
}

/// A request of the hub's user ann.
pub fn request(method: &str, path: &str) -> RequestHead {
    let user = User { name: "hub:ann".into(), groups: vec!["hub:ops".into()] };
    RequestHead { method: method.into(), path: path.into(), identity: Some(Identity::User(user)), ..RequestHead::default() }
}

pub fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}
