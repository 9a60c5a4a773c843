//! The whole road in one value: a member, a hub and an agent between them, and what tests say about them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{Agent, App, Hub, Member, Traffic};

/// Longest wait for something that should take a moment.
const SOON: Duration = Duration::from_secs(40);

/// A link is at rest when it carried nothing for so long.
const REST: Duration = Duration::from_secs(3);

/// Longer than the pause between two looks at pods that do not start.
const SETTLED: Duration = Duration::from_secs(14);

/// Kinds that the shop is made of.
const KINDS: &str = "namespaces,serviceaccounts,configmaps,secrets,services,deployments";

/// UID and version by `KIND NAMESPACE/NAME`: the generation where there is one, since controllers write statuses, else the resourceVersion.
pub type Inventory = BTreeMap<String, (String, String)>;

/// A member, a hub and an agent.
pub struct Road {
    pub agent: Agent,
    pub hub: Hub,
    pub member: Member,
    begun: Instant,
}

impl Road {
    /// Starts all three, and waits until the cluster is registered.
    ///
    /// # Errors
    /// One of them does not come up.
    pub async fn start(name: &str) -> Result<Road> {
        let member = Member::start(name).await?;
        Road::between(member, &[])
    }

    /// Puts a hub and an agent beside a running member; the agents of `others` can be started beside it.
    ///
    /// # Errors
    /// One of them does not come up.
    pub fn between(member: Member, others: &[&Member]) -> Result<Road> {
        let hub = Hub::start(&[&[&member], others].concat())?;
        let agent = Agent::start(&hub, &member)?;
        Road::of(member, hub, agent)
    }

    /// Of parts that run.
    ///
    /// # Errors
    /// The cluster is not registered.
    pub fn of(member: Member, hub: Hub, agent: Agent) -> Result<Road> {
        let road = Road { agent, hub, member, begun: Instant::now() };
        road.hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"].as_array().is_some_and(|items| !items.is_empty()))?;
        Ok(road)
    }

    /// Prints how far a test is.
    pub fn step(&self, what: &str) {
        eprintln!("\n{:6.1} s  {what}", self.begun.elapsed().as_secs_f32());
    }

    /// Applies the shop and waits until it is applied on the member.
    ///
    /// # Errors
    /// It does not arrive.
    pub fn ship(&self) -> Result<()> {
        let app = App::load()?;
        self.hub.kubectl().apply(app.objects())?;
        self.hub.kubectl().apply(app.subscription())?;
        self.applied("shop")
    }

    /// Waits until a Subscription says Applied.
    ///
    /// # Errors
    /// It does not; both logs are shown.
    pub fn applied(&self, subscription: &str) -> Result<()> {
        let waited = self.hub.kubectl().wait_until(["subscription", subscription], SOON, is_applied);
        waited.map(drop).map_err(|error| error.context(self.logs()))
    }

    /// The ends of both logs.
    #[must_use]
    pub fn logs(&self) -> String {
        format!("HUB\n{}\nAGENT\n{}", self.hub.log(), self.agent.log())
    }

    /// Everything on the member that carries our label.
    ///
    /// # Errors
    /// The member cannot be asked.
    pub fn ours(&self) -> Result<Inventory> {
        self.inventory(&[KINDS, "-A", "-l", "clusternet.io/created-by=clusternet-agent"])
    }

    /// Everything of the shop's kinds that does not carry our label, but for what Kubernetes changes by itself.
    ///
    /// # Errors
    /// The member cannot be asked.
    pub fn others(&self) -> Result<Inventory> {
        let mut found = self.inventory(&[KINDS, "-A", "-l", "clusternet.io/created-by!=clusternet-agent"])?;
        found.retain(|name, _| !name.contains(" shop/"));
        Ok(found)
    }

    fn inventory(&self, args: &[&str]) -> Result<Inventory> {
        let text = self.member.kubectl().run_with_input(&[&["get", "-o", "json"], args].concat(), "")?;
        let found: Value = serde_json::from_str(&text)?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().map(entry).collect())
    }

    /// Waits until nothing of ours is left on the member.
    ///
    /// # Errors
    /// Something stays; it is named.
    pub fn nothing_of_ours_is_left(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let left = self.ours()?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "left on the member: {left:#?}\nAGENT\n{}", self.agent.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the link has carried nothing for a while, at least until it was opened `connections` times.
    ///
    /// # Errors
    /// It never comes to rest.
    pub fn rest(&self, connections: u64) -> Result<Traffic> {
        self.quiet_for(REST, connections)
    }

    /// Waits until every health has been told: on a member without nodes pods come late, and their troubles later.
    ///
    /// # Errors
    /// It never comes to rest.
    pub fn settled(&self) -> Result<Traffic> {
        self.quiet_for(SETTLED, 1)
    }

    fn quiet_for(&self, quiet: Duration, connections: u64) -> Result<Traffic> {
        let deadline = Instant::now() + SOON + 2 * quiet;
        let (mut last, mut since) = (self.agent.bus.traffic(), Instant::now());
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = self.agent.bus.traffic();
            if now.total() != last.total() {
                (last, since) = (now, Instant::now());
            }
            if now.connections >= connections && since.elapsed() >= quiet {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "the link does not come to rest: {now:?}");
        }
    }
}

fn entry(item: &Value) -> (String, (String, String)) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &item["metadata"];
    let name = format!("{} {}/{}", text(&item["kind"]), text(&metadata["namespace"]), text(&metadata["name"]));
    let version = match metadata["generation"].as_u64() {
        Some(generation) => generation.to_string(),
        None => text(&metadata["resourceVersion"]),
    };
    (name, (text(&metadata["uid"]), version))
}

/// Whether a Subscription's present generation says Applied.
#[must_use]
pub fn is_applied(subscription: &Value) -> bool {
    let generation = &subscription["metadata"]["generation"];
    condition(subscription, "Applied").is_some_and(|applied| applied["status"] == "True" && applied["observedGeneration"] == *generation)
}

/// A condition of an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
