//! What kubectl's requests cost over a link that is not nearby, by the bytes that the link has carried.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{Agent, Hub, Kubectl, Member, Shape, Shaper, log_lines};

/// One way of the link: as far away as the next town.
const DELAY: Duration = Duration::from_millis(10);
const SOON: Duration = Duration::from_secs(60);

/// Bytes of the text that an object holds.
const TEXT: usize = 600_000;

/// A link, and kubectl over it.
struct World {
    kubectl: Kubectl,
    shaper: Shaper,
}

impl World {
    /// Bytes that the link carries, both ways, while kubectl does this, as it came from the API server: compressed there it says nothing.
    fn cost(&self, args: &[&str], input: &str) -> Result<u64> {
        let carried = || {
            let counts = self.shaper.counts();
            counts.up.delivered_bytes + counts.down.delivered_bytes
        };
        let before = carried();
        self.kubectl.run_with_input(&[&["--disable-compression"], args].concat(), input)?;
        Ok(carried() - before)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_travels_packed_both_ways_and_secrets_as_they_are() -> Result<()> {
    let member = Member::builder("bytes").api_server_only().start().await?;
    let shaper = Shaper::attach(member.site(), Shape { delay: DELAY, ..Shape::default() }, 5)?;
    let hub = Hub::start_at(shaper.hub_address(), &[&member], &[])?;
    let mut agent = Agent::prepare_direct(&hub, &member)?;
    agent.run(&[])?;
    let joined = hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["apiserverURL"].is_string());
    joined.map_err(|error| error.context(agent.log()))?;
    let preset = format!("{}/../deploy/rbac/agent-proxy.yaml", env!("CARGO_MANIFEST_DIR"));
    member.kubectl().run(["apply", "-f", &preset])?;
    let world = World { kubectl: hub.kubectl_into(&member)?, shaper };
    // What kubectl asks once, it asks here.
    world.cost(&["get", "configmaps,secrets"], "")?;
    let text = log_lines(TEXT, &mut fastrand::Rng::with_seed(7));
    for (kind, field, packed) in [("ConfigMap", "data", true), ("Secret", "stringData", false)] {
        let object = format!("{{kind: {kind}, apiVersion: v1, metadata: {{name: text}}, {field}: {{text: {text:?}}}}}");
        let up = world.cost(&["create", "--validate=false", "-f", "-"], &object)?;
        let down = world.cost(&["get", kind, "text", "-o", "json"], "")?;
        eprintln!("{kind} of {TEXT} bytes: {up} bytes to create it, whose answer has it again, {down} to read it");
        // The answer to `create` is the whole object, too.
        for (cost, copies) in [(up, 2), (down, 1)] {
            let share = cost as f64 / (copies * TEXT) as f64;
            ensure!(if packed { share < 0.5 } else { share > 1.0 }, "{kind}: {cost} bytes for {copies} times {TEXT}");
        }
    }
    Ok(())
}
