//! Real kubectl and curl through the hub to a real API server: as a user of the hub, and with credentials of the member as Clusternet
//! documents it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::{Agent, Hub, Kubectl, KubectlVersion, Member, Scratch};

const SOON: Duration = Duration::from_secs(40);

/// Rights for the hub's administrators and for its group `dev`, bound by the member.
const BINDINGS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hub-admins}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:admins'}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hub-dev}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: hub-dev}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:dev'}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: hub-dev}
rules: [{apiGroups: [''], resources: [pods, configmaps], verbs: [get, list, watch]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: owner, namespace: default}
";

struct World {
    agent: Agent,
    hub: Hub,
    member: Member,
    scratch: Scratch,
}

impl World {
    async fn start(name: &str) -> Result<World> {
        let member = Member::builder(name).api_server_only().start().await?;
        let hub = Hub::start(&[&member])?;
        let agent = Agent::start(&hub, &member)?;
        hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["link"] == "Connected")?;
        Ok(World { agent, hub, member, scratch: Scratch::create("kubectl")? })
    }

    fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// kubectl with what `clusternet-hub kubeconfig` prints.
    fn through(&self, version: KubectlVersion, further: &[&str]) -> Result<Kubectl> {
        let printed = self.hub.run(&[&["kubeconfig", "--cluster", self.member.name()], further].concat())?;
        let path = self.file(&format!("through-{version:?}-{}", further.len()), &printed)?;
        Kubectl::of_version(version, &path)
    }

    /// kubectl as Clusternet documents it, with this user.
    fn clusternets(&self, file: &str, user: &Value) -> Result<Kubectl> {
        let admin: Value = self.hub.kubectl().get(["mcls", "-A"])?["items"][0].clone();
        let id = admin["spec"]["clusterId"].as_str().context("no id")?;
        let server = format!("https://{}/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/direct", self.hub.api());
        let ca = STANDARD.encode(std::fs::read(self.hub.data().join("ca.crt"))?);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        Kubectl::new(&self.file(file, &config.to_string())?)
    }

    fn admin_token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.hub.data().join("admin.token"))?.trim().to_owned())
    }
}

fn whoami(kubectl: &Kubectl) -> Result<(String, Vec<String>)> {
    let answer: Value = serde_json::from_str(&kubectl.run(["auth", "whoami", "-o", "json"])?)?;
    let info = &answer["status"]["userInfo"];
    let groups = info["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((info["username"].as_str().unwrap_or_default().to_owned(), groups))
}

fn refused(kubectl: &Kubectl, args: &[&str]) -> Result<String> {
    let output = kubectl.output(args, "")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(!output.status.success(), "kubectl {args:?} is not refused: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_hub_do_on_a_member_what_the_member_lets_them() -> Result<()> {
    let world = World::start("users").await?;
    for version in [KubectlVersion::V1_37, KubectlVersion::V1_32] {
        let admin = world.through(version, &[])?;
        ensure!(whoami(&admin)? == ("hub:admin".into(), vec!["hub:admins".into(), "system:authenticated".into()]));
    }
    let admin = world.through(KubectlVersion::V1_37, &[])?;
    let said = refused(&admin, &["get", "namespaces"])?;
    ensure!(said.contains("User \"hub:admin\" cannot list resource \"namespaces\""), "{said}");
    world.member.kubectl().apply(BINDINGS)?;
    admin.wait_until(["namespaces"], SOON, |found| found["items"].as_array().is_some_and(|items| items.len() > 2))?;
    for version in [KubectlVersion::V1_37, KubectlVersion::V1_32] {
        let admin = world.through(version, &[])?;
        let watch = admin.watch(["configmaps", "-n", "default"])?;
        admin.run(["api-resources"])?;
        ensure!(admin.run(["version", "-o", "json"])?.contains("\"minor\": \"37\""));
        admin.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made, namespace: default}\ndata: {a: b}\n")?;
        admin.run(["patch", "configmap", "made", "--type=merge", "-p", "{\"data\":{\"a\":\"c\"}}"])?;
        ensure!(world.member.kubectl().get(["configmap", "made"])?["data"]["a"] == "c");
        admin.run(["delete", "configmap", "made"])?;
        watch.wait_until(SOON, |events| events.iter().any(|event| event.kind == "DELETED" && event.name() == "made"))?;
    }
    let token = world.file("anna.token", &world.hub.run(&["user", "create", "anna", "--group", "dev", "--ttl", "1h"])?)?;
    let anna = world.through(KubectlVersion::V1_37, &["--token-file", &token.display().to_string()])?;
    ensure!(whoami(&anna)? == ("hub:anna".into(), vec!["hub:dev".into(), "system:authenticated".into()]));
    anna.run(["get", "configmaps", "-A"])?;
    ensure!(anna.run(["auth", "can-i", "list", "pods"])?.trim() == "yes");
    ensure!(refused(&anna, &["auth", "can-i", "delete", "pods"])?.trim() == "no");
    for flags in [["--as=root", "--v=0"], ["--as=root", "--as-group=system:masters"]] {
        let said = refused(&anna, &["get", "configmaps", flags[0], flags[1]])?;
        ensure!(said.contains("impersonation is forbidden"), "{said}");
    }
    ensure!(world.hub.run(&["user", "list"])?.contains("anna"));
    let table = world.hub.kubectl().run(["get", "users"])?;
    ensure!(table.contains("GROUPS") && table.contains("dev"), "{table}");
    world.hub.run(&["user", "revoke", "anna"])?;
    let said = refused(&anna, &["get", "--raw", "/api/v1/configmaps"])?;
    ensure!(said.contains("was revoked"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_a_member_work_as_clusternet_documents_it_and_are_found_nowhere_afterwards() -> Result<()> {
    let world = World::start("pass").await?;
    world.member.kubectl().apply(BINDINGS)?;
    let child = world.member.kubectl().run(["create", "token", "owner", "-n", "default"])?.trim().to_owned();
    let credential = world.member.control_plane().authority().user("bob", "bob", "ops")?;
    let (certificate, key) = (std::fs::read(&credential.certificate)?, std::fs::read(&credential.key)?);
    let extra_token = json!({"clusternet-token": [child]});
    let extra_certificate =
        json!({"clusternet-certificate": [STANDARD.encode(&certificate)], "clusternet-privatekey": [STANDARD.encode(&key)]});
    let hub_token = world.admin_token()?;

    let documented = json!({"username": "system:anonymous", "as": "clusternet", "as-user-extra": extra_token});
    // Of a 401 during discovery kubectl shows no sentence.
    let said = refused(&world.clusternets("documented", &documented)?, &["get", "--raw", "/api/v1/namespaces"])?;
    ensure!(said.contains("write `token: TOKEN` in place of `username: system:anonymous`"), "{said}");

    let by_token = world.clusternets("token", &json!({"token": hub_token, "as": "clusternet", "as-user-extra": extra_token}))?;
    ensure!(whoami(&by_token)?.0 == "system:serviceaccount:default:owner");
    let beside = json!({"username": "system:anonymous", "password": hub_token, "as": "clusternet", "as-user-extra": extra_token});
    ensure!(whoami(&world.clusternets("beside", &beside)?)?.0 == "system:serviceaccount:default:owner");
    let by_certificate =
        world.clusternets("certificate", &json!({"token": hub_token, "as": "clusternet", "as-user-extra": extra_certificate}))?;
    ensure!(whoami(&by_certificate)? == ("bob".into(), vec!["ops".into(), "system:authenticated".into()]));
    let said = refused(&by_certificate, &["get", "namespaces"])?;
    ensure!(said.contains("User \"bob\" cannot list"), "{said}");

    let id = world.hub.kubectl().get(["mcls", "-A"])?["items"][0]["spec"]["clusterId"].as_str().context("no id")?.to_owned();
    let url = format!("https://{}/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/direct/version", world.hub.api());
    let (extra, authorization) = (format!("Impersonate-Extra-Clusternet-Token: {child}"), format!("Authorization: Bearer {hub_token}"));
    let headers = [authorization.as_str(), "Authorization: Basic system:anonymous", "Impersonate-User: clusternet", &extra];
    ensure!(curl(&world, &url, &headers)?.contains("\"gitVersion\""));
    let said = curl(&world, &url, &headers[1..])?;
    ensure!(said.contains("\"code\":401") && said.contains("curl: -H 'Authorization: Bearer TOKEN'"), "{said}");

    let encoded = STANDARD.encode(&key);
    for needle in [&child.as_bytes()[child.len() - 40..], &encoded.as_bytes()[60..100], &key[40..80]] {
        ensure!(!is_in(&world.hub.data(), needle)?, "a credential of the member is on the hub's disk");
    }
    ensure!(is_in(&world.hub.data(), b"\"as\":\"certificate\"")?, "the search finds what is there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_told_of_a_cluster_that_is_away() -> Result<()> {
    let mut world = World::start("away").await?;
    world.member.kubectl().apply(BINDINGS)?;
    let admin = world.through(KubectlVersion::V1_37, &[])?;
    admin.wait_until(["namespaces"], SOON, |_| true)?;
    world.agent.stop()?;
    let begun = std::time::Instant::now();
    let said = refused(&admin, &["get", "namespaces"])?;
    eprintln!("told after {:.1} s: {said}", begun.elapsed().as_secs_f32());
    ensure!(said.contains("is not connected: it was last heard from") && said.contains("?wait=30s"), "{said}");
    world.agent.run(&[])?;
    let url = format!("https://{}/clusters/{}/version?wait=40s", world.hub.api(), world.member.name());
    let answer = curl(&world, &url, &[&format!("Authorization: Bearer {}", world.admin_token()?)])?;
    ensure!(answer.contains("gitVersion"), "{answer}");
    Ok(())
}

fn curl(world: &World, url: &str, headers: &[&str]) -> Result<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(world.hub.data().join("ca.crt")).arg(url);
    headers.iter().for_each(|header| {
        command.args(["-H", header]);
    });
    let output = command.output().context("curl")?;
    ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a file below a folder holds these bytes.
fn is_in(folder: &Path, needle: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found =
            if path.is_dir() { is_in(&path, needle)? } else { std::fs::read(&path)?.windows(needle.len()).any(|window| window == needle) };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
