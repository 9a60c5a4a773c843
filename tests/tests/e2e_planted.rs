//! Planted secrets are searched for wherever a thief could look: data folders with WAL, logs at trace, and the memory of both programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use tests::planted::{Hit, Planted, in_folder, in_memory};
use tests::{Agent, Hub, Member, Road};

const SOON: Duration = Duration::from_secs(30);

/// Longer than idle connections, and the events that watchers are spared the disk for, are held in memory.
const FORGOTTEN: Duration = Duration::from_secs(100);

/// Files that are secrets themselves, for the owner only.
const KEYS: [&str; 6] = ["admin.token", "join.token", "admin.kubeconfig", "ca.key", "at-rest.key", "registration.json"];

struct Secrets {
    data: Planted,
    string_data: Planted,
    config: Planted,
    changed: Planted,
    refused: Planted,
}

impl Secrets {
    fn plant() -> Secrets {
        Secrets {
            data: Planted::random("data of a Secret"),
            string_data: Planted::random("stringData of a Secret"),
            config: Planted::random("data of a ConfigMap"),
            changed: Planted::random("changed data of a Secret"),
            refused: Planted::random("a value that the member refuses"),
        }
    }

    fn of_secrets(&self) -> Vec<Planted> {
        vec![self.data.clone(), self.string_data.clone(), self.changed.clone(), self.refused.clone()]
    }

    fn all(&self, hub: &Hub) -> Result<Vec<Planted>> {
        let read = |name: &str| std::fs::read_to_string(hub.data().join(name)).with_context(|| name.to_owned());
        let mut all = self.of_secrets();
        all.push(self.config.clone());
        all.push(Planted::of("admin token", read("admin.token")?.trim()));
        all.push(Planted::of("join token", read("join.token")?.trim()));
        all.push(Planted::of("at-rest key", read("at-rest.key")?.trim()));
        let key = read("ca.key")?;
        all.push(Planted::of("CA key", key.lines().nth(1).context("a PEM file has lines")?.get(..48).context("of base64")?));
        Ok(all)
    }

    /// A Secret that no API server takes, and that it quotes when it says so.
    fn broken(&self) -> String {
        let refused = self.refused.value();
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: broken, namespace: default}}\ndata: {{password: {{nested: {refused}}}}}\n---\n\
             apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: broken, namespace: default}}\nspec:\n\
             \x20 subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]\n\
             \x20 feeds: [{{apiVersion: v1, kind: Secret, name: broken, namespace: default}}]\n"
        )
    }

    fn objects(&self) -> String {
        let (data, string_data, config) = (self.data.base64(), self.string_data.value(), self.config.value());
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: vault}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: login, namespace: vault}}\ndata: {{password: {data}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: plain, namespace: vault}}\nstringData: {{password: x{string_data}x}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: flags, namespace: vault}}\ndata: {{flag: {config}}}\n---\n\
             apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: vault, namespace: default}}\nspec:\n\
             \x20 subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]\n\
             \x20 feeds:\n\
             \x20 - {{apiVersion: v1, kind: Namespace, name: vault}}\n\
             \x20 - {{apiVersion: v1, kind: ConfigMap, name: flags, namespace: vault}}\n\
             \x20 - {{apiVersion: v1, kind: Secret, name: login, namespace: vault}}\n\
             \x20 - {{apiVersion: v1, kind: Secret, name: plain, namespace: vault}}\n"
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_in_no_file_no_log_and_once_deleted_in_no_memory() -> Result<()> {
    let member = Member::builder("planted").api_server_only().start().await?;
    let hub = Hub::start_logging(&[&member], "trace")?;
    let mut agent = Agent::prepare_logging(&hub, &member, "trace")?;
    agent.run(&[])?;
    let mut road = Road::of(member, hub, agent)?;
    let secrets = Secrets::plant();

    road.hub.kubectl().apply(&secrets.objects())?;
    road.applied("vault")?;
    on_disk(&road, &secrets, "created")?;
    // What is live is in memory: this shows that the search finds it there.
    let (live, _) = memory(&mut road, &secrets.of_secrets())?;
    ensure!(!live.is_empty(), "the search of the memory finds nothing, so it would prove nothing");

    let changed = format!("{{\"data\":{{\"password\":\"{}\"}}}}", secrets.changed.base64());
    road.hub.kubectl().run(["patch", "secret", "login", "-n", "vault", "--type=merge", "-p", &changed])?;
    let arrived = secrets.changed.base64();
    road.member.kubectl().wait_until(["secret", "login", "-n", "vault"], SOON, |found| found["data"]["password"] == arrived.as_str())?;
    on_disk(&road, &secrets, "changed")?;

    road.hub.kubectl().apply(&secrets.broken())?;
    let refused = |found: &serde_json::Value| found["status"].to_string().contains("the value is not shown");
    let subscription = road.hub.kubectl().wait_until(["subscription", "broken"], SOON, refused);
    let subscription = subscription.map_err(|error| error.context(road.logs()))?;
    ensure!(!subscription.to_string().contains(secrets.refused.value()), "the refused value is quoted: {subscription}");
    on_disk(&road, &secrets, "refused")?;
    road.hub.kubectl().run(["delete", "subscription", "broken"])?;
    road.hub.kubectl().run(["delete", "secret", "broken", "-n", "default"])?;

    let feeds = r#"[{"op":"remove","path":"/spec/feeds/3"},{"op":"remove","path":"/spec/feeds/2"}]"#;
    road.hub.kubectl().run(["patch", "subscription", "vault", "--type=json", "-p", feeds])?;
    road.member.kubectl().wait_until_gone(["secret", "login", "-n", "vault"], SOON)?;
    road.member.kubectl().wait_until_gone(["secret", "plain", "-n", "vault"], SOON)?;
    road.hub.kubectl().run(["delete", "secret", "login", "plain", "-n", "vault"])?;
    road.applied("vault")?;
    // The buffers of a connection hold the last frames until others come; those that crossed this one go with it.
    road.agent.bus.reset();
    std::thread::sleep(FORGOTTEN);
    on_disk(&road, &secrets, "deleted")?;
    let (left, read) = memory(&mut road, &secrets.of_secrets())?;
    eprintln!("memory after the Secrets were deleted: {} hits in {} MiB of both programs", left.len(), read >> 20);
    ensure!(left.is_empty(), "in memory after the Secrets were deleted:\n{}", told(&left));

    road.agent.stop()?;
    road.hub.stop()?;
    on_disk(&road, &secrets, "stopped")
}

/// The same search finds the same secrets where nothing is sealed: in a table, in the WAL, and in a log.
#[test]
fn the_search_finds_secrets_that_are_not_sealed() -> Result<()> {
    let scratch = tests::Scratch::create("unsealed")?;
    let secrets = Secrets::plant();
    let database = Connection::open(scratch.path().join("clear.sqlite"))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.execute_batch("CREATE TABLE objects (body BLOB)")?;
    database.execute("INSERT INTO objects VALUES (?1)", [secrets.objects().into_bytes()])?;
    std::fs::write(scratch.path().join("hub.log"), format!("TRACE body={}", secrets.changed.base64()))?;
    let planted = [secrets.of_secrets(), vec![secrets.config.clone()]].concat();
    let hits = in_folder(scratch.path(), &planted, &KEYS)?;
    ensure!(hits.iter().filter(|hit| hit.place.ends_with("-wal")).count() == 3, "in the WAL: {}", told(&hits));
    ensure!(hits.iter().any(|hit| hit.place.ends_with(".log")), "in the log: {}", told(&hits));
    drop(database);
    let hits = in_folder(scratch.path(), &planted, &KEYS)?;
    ensure!(hits.iter().filter(|hit| hit.place.ends_with("clear.sqlite")).count() == 3, "in the file: {}", told(&hits));
    Ok(())
}

/// Data folders and logs of both programs; their own key files are left out.
fn on_disk(road: &Road, secrets: &Secrets, when: &str) -> Result<()> {
    let planted = secrets.all(&road.hub)?;
    let folders = [road.hub.data(), road.agent.data()];
    let logs = folders.iter().filter_map(|data| data.parent());
    for folder in logs {
        search_folder(folder, &planted, when)?;
    }
    Ok(())
}

fn search_folder(folder: &Path, planted: &[Planted], when: &str) -> Result<()> {
    let hits = in_folder(folder, planted, &KEYS)?;
    eprintln!("{when}: {} hits in {}", hits.len(), folder.display());
    ensure!(hits.is_empty(), "{when}, in clear:\n{}", told(&hits));
    Ok(())
}

/// The memory of both programs, frozen meanwhile.
fn memory(road: &mut Road, planted: &[Planted]) -> Result<(Vec<Hit>, usize)> {
    let hub = road.hub.process().context("the hub runs")?.id();
    let agent = road.agent.process()?.id();
    road.hub.freeze()?;
    road.agent.process()?.freeze()?;
    let found = in_memory(hub, planted).and_then(|(mut hits, read)| {
        hits.iter_mut().for_each(|hit| hit.place.insert_str(0, "hub "));
        let (mut more, also) = in_memory(agent, planted)?;
        more.iter_mut().for_each(|hit| hit.place.insert_str(0, "agent "));
        hits.extend(more);
        Ok((hits, read + also))
    });
    road.agent.process()?.thaw()?;
    road.hub.thaw()?;
    found
}

fn told(hits: &[Hit]) -> String {
    hits.iter().take(40).map(|hit| format!("{} in {}: {}\n", hit.secret, hit.place, hit.around)).collect()
}
