//! The testbed against itself: a member with real containers comes up, is observed, is cut, dies, comes back, and leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{App, Feed, Member, Relay, leftovers};

const PODS_WITHIN: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(60);

/// One test, because it asserts on what the whole process leaves behind.
#[tokio::test]
async fn a_member_runs_the_shop_is_cut_dies_comes_back_and_leaves_nothing() -> Result<()> {
    let begun = Instant::now();
    let step = |what: &str| eprintln!("{:6.1} s  {what}", begun.elapsed().as_secs_f32());
    let sockets_before = dead_shim_sockets();
    {
        let member = Member::builder("site-a").with_node().start().await?;
        step("member is ready");
        the_shop_runs(&member)?;
        step("all pods are available");
        every_object_is_fed(&member)?;
        pods_answer(&member)?;
        step("pods answer");
        a_change_is_one_generation(&member)?;
        step("a change was watched");
        the_relay_counts_what_the_link_carries(&member)?;
        step("bytes were counted");
        a_cut_link_is_silent_until_healed(&member)?;
        step("the link was cut and healed");
        a_dead_cluster_comes_back(&member)?;
        step("the cluster was killed and is back");
        eprintln!("          control plane: {:?}", member.control_plane().memory()?);
    }
    step("member is gone");
    ensure!(leftovers().is_empty(), "left behind: {:#?}", leftovers());
    let sockets: Vec<_> = dead_shim_sockets().difference(&sockets_before).cloned().collect();
    ensure!(sockets.is_empty(), "left behind: {sockets:#?}");
    Ok(())
}

/// Sockets of containers' shims that nobody listens on; their names don't tell whose they were.
fn dead_shim_sockets() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/run/containerd/s").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| UnixStream::connect(path).is_err()).collect()
}

fn the_shop_runs(member: &Member) -> Result<()> {
    let kubectl = member.kubectl();
    kubectl.apply(App::load()?.objects())?;
    kubectl.wait_until(["deployments", "-n", "shop"], PODS_WITHIN, |list| available(list) == 11)?;
    let pods = kubectl.get(["pods", "-n", "shop"])?;
    let running = items(&pods).iter().filter(|pod| pod["status"]["phase"] == "Running").count();
    ensure!(running == 12, "{running} pods run");
    Ok(())
}

fn every_object_is_fed(member: &Member) -> Result<()> {
    let app = App::load()?;
    let text = member.kubectl().run_with_input(&["get", "-o", "json", "-f", "-"], app.objects())?;
    let live: Value = serde_json::from_str(&text)?;
    let live: BTreeSet<Feed> = items(&live).iter().map(feed_of).collect();
    ensure!(live == app.feeds().into_iter().collect(), "the Subscription feeds other objects than there are: {live:#?}");
    Ok(())
}

fn pods_answer(member: &Member) -> Result<()> {
    let page = member.kubectl().run(["exec", "-n", "shop", "deploy/storefront", "--", "wget", "-qO-", "http://127.0.0.1:8080/"])?;
    ensure!(page.contains("Open every day"), "{page}");
    // A pod reaches its own API server at the service address, through the site's redirection.
    let probe = ["exec", "-n", "shop", "deploy/mailer", "--", "nc", "-w", "5", "10.96.0.1", "443"];
    member.kubectl().run(probe).context("the API server can't be reached from a pod").map(drop)
}

fn a_change_is_one_generation(member: &Member) -> Result<()> {
    let watch = member.kubectl().watch(["deployments", "-n", "shop"])?;
    watch.wait_until(SOON, |events| events.len() >= 11)?;
    let before = watch.generations("cart");
    member.kubectl().apply(App::load()?.changed())?;
    let updated = |object: &Value| object["status"]["updatedReplicas"] == 1 && object["status"]["observedGeneration"] == 2;
    watch.wait_until(PODS_WITHIN, |events| events.iter().any(|event| event.name() == "cart" && updated(&event.object)))?;
    ensure!(before == [1] && watch.generations("cart") == [1, 2], "{before:?} {:?}", watch.generations("cart"));
    ensure!(watch.generations("orders") == [1], "an unchanged Deployment has {:?}", watch.generations("orders"));
    member.kubectl().run(["rollout", "status", "-n", "shop", "deploy/cart", "--timeout=90s"]).map(drop)
}

fn the_relay_counts_what_the_link_carries(member: &Member) -> Result<()> {
    let relay = Relay::start(member.site().gateway(), SocketAddr::from(member.control_plane().address()))?;
    let server = format!("--server=https://{}", relay.address());
    let before = member.site().link_bytes()?;
    member.kubectl().run([&server, "--tls-server-name=localhost", "get", "deployments", "-A", "-o", "json"])?;
    let (payload, after) = (relay.traffic(), member.site().link_bytes()?);
    let link = after.ip() - before.ip();
    eprintln!("          {payload:?}, {link} bytes at the IP layer");
    // Headers and acknowledgements come on top of the payload, and nothing else crosses the link.
    ensure!(payload.connections >= 1 && payload.from_target > 5_000, "{payload:?}");
    ensure!(link > payload.total() && link < payload.total() * 3 / 2, "{link} for {payload:?}");
    Ok(())
}

fn a_cut_link_is_silent_until_healed(member: &Member) -> Result<()> {
    let ask = ["--request-timeout=2s", "get", "namespace", "shop"];
    member.site().down()?;
    ensure!(member.kubectl().run(ask).is_err(), "the member answers over a cut link");
    let inside = member.site().run("ip -o link show dev eth0")?;
    ensure!(inside.contains("NO-CARRIER"), "the site still has a carrier: {inside}");
    member.site().up()?;
    member.kubectl().wait_until(["namespace", "shop"], SOON, |shop| shop["status"]["phase"] == "Active").map(drop)
}

fn a_dead_cluster_comes_back(member: &Member) -> Result<()> {
    let (kubectl, uid) = (member.kubectl(), |value: &Value| value["metadata"]["uid"].clone());
    let before = uid(&kubectl.get(["deployment", "-n", "shop", "cart"])?);
    member.kill()?;
    ensure!(kubectl.run(["--request-timeout=2s", "get", "nodes"]).is_err(), "a dead cluster answers");
    member.start_again()?;
    ensure!(uid(&kubectl.get(["deployment", "-n", "shop", "cart"])?) == before, "its data is lost");
    // The statuses may be older than the kill: only a command that runs in a container proves life.
    let deadline = Instant::now() + PODS_WITHIN;
    while let Err(error) = kubectl.run(["exec", "-n", "shop", "deploy/cart", "--", "true"]) {
        ensure!(Instant::now() < deadline, "no pod runs again: {error:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn available(list: &Value) -> usize {
    let all = |deploy: &&Value| deploy["status"]["availableReplicas"] == deploy["spec"]["replicas"];
    items(list).iter().filter(all).count()
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

fn feed_of(object: &Value) -> Feed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    Feed { api_version: text(&object["apiVersion"]), kind: text(&object["kind"]), namespace, name }
}
