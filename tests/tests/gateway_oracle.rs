//! What hostile clients send to the gateway, sent to a real kube-apiserver as well, and through the gateway to that one: where they differ,
//! the table says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::hostile_http::cases;
use tests::{Agent, Hub, Member, TlsClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

const OWNER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: owner, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: owners}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: owner, namespace: default}, {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:admins'}]
";

/// The code of the answer to these bytes; 0 when the connection is closed without one.
async fn code(server: &TlsClient, bytes: &[u8]) -> Result<u16> {
    let mut connection = server.connect().await?;
    // The server may have closed before everything was written.
    let _ = connection.write_all(bytes).await.is_ok() && connection.flush().await.is_ok();
    let mut answer = Vec::new();
    let read = async { while answer.len() < 12 && connection.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, read).await.context("no end")?;
    let line = String::from_utf8_lossy(answer.get(..12).unwrap_or_default()).into_owned();
    Ok(line.rsplit(' ').next().and_then(|code| code.parse().ok()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_holds_for_kube_apiserver_and_for_the_way_through_the_hub() -> Result<()> {
    let member = Member::builder("oracle").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let _agent = Agent::start(&hub, &member)?;
    hub.kubectl().wait_until(["mcls", "-A"], Duration::from_secs(40), |found| found["items"][0]["status"]["link"] == "Connected")?;
    member.kubectl().apply(OWNER)?;
    let token = member.kubectl().run(["create", "token", "owner", "-n", "default"])?;
    let admin = std::fs::read_to_string(hub.data().join("admin.token"))?;
    let oracle = TlsClient::new(member.control_plane().address().into(), &member.control_plane().authority().certificate_file())?;
    let gateway = TlsClient::new(hub.api(), &hub.data().join("ca.crt"))?;
    let mut wrong = Vec::new();
    for (direct, through) in cases("", token.trim()).into_iter().zip(cases("/clusters/oracle", admin.trim())) {
        let found = code(&oracle, &direct.bytes).await.with_context(|| format!("kube-apiserver, {}", direct.what))?;
        let seen = code(&gateway, &through.bytes).await.with_context(|| format!("gateway, {}", direct.what))?;
        let expected = if through.gateway == 200 { direct.apiserver } else { through.gateway };
        eprintln!("{:50} kube-apiserver {found}, gateway {seen}", direct.what);
        if (found, seen) != (direct.apiserver, expected) {
            wrong.push(format!("{}: kube-apiserver {found}, not {}; gateway {seen}, not {expected}", direct.what, direct.apiserver));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
