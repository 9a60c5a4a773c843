//! The agent of other processors, under qemu, against a live hub and a real API server: it joins, applies, acknowledges, reports, and
//! survives a cut and sudden death; and one disk goes from processor to processor.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Agent, Hub, Kubectl, Member, Platform, is_applied};

/// An emulated start includes 1.5 s of TLS and qemu's translation of 8 MB of program.
const SOON: Duration = Duration::from_secs(90);

/// One of each kind of step; builds without failpoints are killed from outside.
const POINTS: [&str; 4] = ["before-commit:2", "after-commit:3", "after-send:2", "after-apply:1"];

fn objects(value: &str) -> String {
    let padding = "0123456789abcdef".repeat(2_000);
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: first, namespace: default}}
data: {{value: \"{value}\", padding: {padding}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: second, namespace: default}}
stringData: {{value: \"{value}\"}}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {{name: first, namespace: default}}
spec:
  subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]
  feeds:
    - {{apiVersion: v1, kind: ConfigMap, namespace: default, name: first}}
    - {{apiVersion: v1, kind: Secret, namespace: default, name: second}}
"
    )
}

struct Place {
    member: Member,
    hub: Hub,
    agent: Agent,
}

impl Place {
    async fn of(platform: &Platform) -> Result<Place> {
        let member = Member::builder(&platform.name).api_server_only().start().await?;
        let hub = Hub::start(&[&member])?;
        let agent = Agent::prepare(&hub, &member)?.with_program(&platform.agent(&Platform::profile())?);
        Ok(Place { member, hub, agent })
    }

    fn logs(&self) -> String {
        format!("HUB\n{}\nAGENT\n{}", self.hub.log(), self.agent.log())
    }

    /// Changes the objects on the hub and waits for the acknowledgement of the member having them.
    fn change(&self, value: &str) -> Result<()> {
        self.hub.kubectl().apply(&objects(value))?;
        self.arrived(value)
    }

    fn arrived(&self, value: &str) -> Result<()> {
        let has = |found: &serde_json::Value| found["data"]["value"] == value;
        let waited = self.member.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, has);
        waited.map_err(|error| error.context(self.logs()))?;
        let waited = self.hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied);
        waited.map(drop).map_err(|error| error.context(self.logs()))
    }

    fn exists(&self, kind: &str, name: &str) -> Result<bool> {
        self.member.kubectl().exists([kind, name, "-n", "default"])
    }

    /// Dies at the point while a change is under way, or is killed where the build has no failpoints.
    fn dies(&mut self, point: &str, value: &str) -> Result<()> {
        self.agent.kill();
        self.hub.kubectl().apply(&objects(value))?;
        self.agent.run(&[("AGENT_FAILPOINT", point)])?;
        if Platform::profile() == "quick" {
            let status = self.agent.process()?.wait(SOON).with_context(|| format!("{point} was not reached"))?;
            ensure!(!status.success(), "{point}: the agent ended by itself");
            ensure!(self.agent.log().contains("failpoint"), "{point}: {}", self.agent.log());
        } else {
            wait_for(|| self.agent.bus.traffic().connections > 0, "a connection")?;
            self.agent.kill();
        }
        self.agent.run(&[])?;
        self.arrived(value)
    }
}

fn wait_for(mut holds: impl FnMut() -> bool, what: &str) -> Result<()> {
    let begun = std::time::Instant::now();
    while !holds() {
        ensure!(begun.elapsed() < SOON, "no {what} within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The member's own view on the hub: what the agent gathered and said.
fn cluster_is_seen(hub: &Kubectl) -> Result<()> {
    let ready = |found: &serde_json::Value| {
        let status = &found["items"][0]["status"];
        status["link"] == "Connected" && status["nodeStatistics"].is_object() && status["k8sVersion"].is_string()
    };
    hub.wait_until(["mcls", "-A"], SOON, ready).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_every_processor_goes_the_whole_road() -> Result<()> {
    for platform in Platform::asked()? {
        let begun = std::time::Instant::now();
        let mut place = Place::of(&platform).await.with_context(|| platform.name.clone())?;
        place.agent.run(&[])?;
        place.change("joined")?;
        cluster_is_seen(place.hub.kubectl()).map_err(|error| error.context(place.logs()))?;
        let joined = begun.elapsed();

        place.agent.bus.cut();
        place.hub.kubectl().apply(&objects("while cut"))?;
        place.agent.bus.heal();
        place.arrived("while cut")?;
        for point in POINTS {
            place.dies(point, &format!("after {point}")).with_context(|| format!("{} {point}", platform.name))?;
        }
        place.hub.kubectl().run(["delete", "subscription", "first", "-n", "default"])?;
        place.member.kubectl().wait_until_gone(["configmap", "first", "-n", "default"], SOON)?;
        place.member.kubectl().wait_until_gone(["secret", "second", "-n", "default"], SOON)?;
        place.agent.stop()?;
        eprintln!("{}: joined and applied after {joined:.1?}, all of it {:.1?}", platform.name, begun.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_goes_from_processor_to_processor() -> Result<()> {
    let amd64 = Platform::named("amd64")?;
    let mut place = Place::of(&amd64).await?;
    place.agent.run(&[])?;
    place.change("amd64")?;
    place.agent.stop()?;
    let others = Platform::asked()?;
    let Place { mut member, mut hub, mut agent } = place;
    for platform in others.iter().chain([&amd64]) {
        // The hub is away: what the agent puts back, it read from the disk that another processor wrote.
        agent.bus.cut();
        for (kind, name) in [("configmap", "first"), ("secret", "second")] {
            member.kubectl().run(["delete", kind, name, "-n", "default"])?;
        }
        agent = agent.with_program(&platform.agent(&Platform::profile())?);
        agent.run(&[])?;
        let mut here = Place { member, hub, agent };
        wait_for(
            || here.exists("configmap", "first").unwrap_or(false) && here.exists("secret", "second").unwrap_or(false),
            "objects from the disk",
        )
        .map_err(|error| error.context(format!("{}: {}", platform.name, here.logs())))?;
        ensure!(!here.agent.log().contains("set aside"), "{}", here.agent.log());
        // Small changes of a large object: zstd frames against the content that the other processor stored.
        here.agent.bus.heal();
        here.change(&platform.name)?;
        here.agent.stop()?;
        eprintln!("{}: put back what another processor stored, and took a delta against it", platform.name);
        Place { member, hub, agent } = here;
    }
    Ok(())
}
