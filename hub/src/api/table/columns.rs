//! Which columns each kind has. Clusternet's kinds as its printer columns; common native kinds as kubectl's users know them;
//! every other kind name and age.

use serde_json::{Value, json};

use super::cell;
use crate::api::catalogue::Resource;

/// One column: what it is called and how a row's cell is made.
pub struct Column {
    name: &'static str,
    wide: bool,
    pub cell: fn(&Value, i64) -> Value,
}

impl Column {
    /// The column as a Table's `columnDefinitions` has it. All cells are text but the counts, which clients print as they are.
    pub fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({"name": self.name, "type": "string", "format": format, "description": "", "priority": i32::from(self.wide)})
    }
}

const fn column(name: &'static str, cell: fn(&Value, i64) -> Value) -> Column {
    Column { name, wide: false, cell }
}

/// A column that only `-o wide` shows.
const fn wide(name: &'static str, cell: fn(&Value, i64) -> Value) -> Column {
    Column { name, wide: true, cell }
}

/// The columns of a kind, in order.
pub fn of(resource: &Resource) -> Vec<Column> {
    let mut columns = vec![column("Name", |o, _| cell::at(o, "/metadata/name"))];
    columns.extend(middle(resource));
    // The age stands before the columns that only -o wide shows; an event begins with its own.
    if resource.kind != "Event" {
        let place = columns.iter().position(|c| c.wide).unwrap_or(columns.len());
        columns.insert(place, column("Age", |o, now| cell::since(o, "/metadata/creationTimestamp", now)));
    }
    columns
}

fn middle(resource: &Resource) -> Vec<Column> {
    match (resource.group, resource.kind) {
        ("clusters.clusternet.io", "ManagedCluster") => managed_cluster(),
        ("clusters.clusternet.io", "ClusterRegistrationRequest") => {
            vec![column("Cluster ID", |o, _| cell::at(o, "/spec/clusterId")), column("Status", |o, _| cell::at(o, "/status/result"))]
        }
        ("access.clusternet.io", "JoinToken") => vec![
            column("Expires", |o, _| cell::at(o, "/spec/expiresAt")),
            column("Used", |o, _| cell::at(o, "/status/used")),
            column("Uses", |o, _| cell::at(o, "/spec/uses")),
            column("Approval", |o, _| cell::at(o, "/spec/approval")),
        ],
        ("access.clusternet.io", "User") => vec![
            column("Groups", |o, _| cell::list(o["spec"]["groups"].as_array().into_iter().flatten().map(cell::plain))),
            column("Expires", |o, _| cell::at(o, "/spec/expiresAt")),
        ],
        ("apps.clusternet.io", "Subscription") => subscription(),
        ("apps.clusternet.io", "Manifest") => {
            vec![column("Kind", |o, _| cell::at(o, "/template/kind")), column("API Version", |o, _| cell::at(o, "/template/apiVersion"))]
        }
        ("", "Namespace") => vec![column("Status", |o, _| cell::at(o, "/status/phase"))],
        ("", "ConfigMap") => vec![column("Data", |o, _| cell::size(o, &["/data", "/binaryData"]))],
        ("", "Secret") => {
            vec![column("Type", |o, _| cell::at(o, "/type")), column("Data", |o, _| cell::size(o, &["/data", "/stringData"]))]
        }
        ("", "ServiceAccount") => vec![column("Secrets", |o, _| cell::size(o, &["/secrets"]))],
        ("", "Service") => service(),
        ("" | "events.k8s.io", "Event") => event(),
        ("apps", "Deployment") => deployment(),
        ("apps", "StatefulSet") => stateful_set(),
        ("apps", "DaemonSet") => daemon_set(),
        ("batch", "Job") => job(),
        ("batch", "CronJob") => cron_job(),
        ("networking.k8s.io", "Ingress") => vec![
            column("Class", |o, _| cell::at(o, "/spec/ingressClassName")),
            column("Hosts", |o, _| match cell::joined(o, "/spec/rules", "host") {
                hosts if hosts == cell::none() => json!("*"),
                hosts => hosts,
            }),
        ],
        _ => Vec::new(),
    }
}

fn managed_cluster() -> Vec<Column> {
    vec![
        column("Status", |o, _| cell::condition(o, "Ready")),
        column("Link", |o, _| cell::at(o, "/status/link")),
        column("Last-Contact", |o, now| cell::since(o, "/status/lastContact", now)),
        column("Sync", |o, _| cell::at(o, "/status/sync")),
        column("Objects", |o, _| cell::at(o, "/status/objects")),
        column("Kubernetes", |o, _| cell::at(o, "/status/k8sVersion")),
        wide("Sync Mode", |o, _| cell::at(o, "/spec/syncMode")),
        wide("Cluster ID", |o, _| cell::at(o, "/spec/clusterId")),
        wide("Cluster Type", |o, _| cell::at(o, "/spec/clusterType")),
        wide("Agent Version", |o, _| cell::at(o, "/status/agentVersion")),
    ]
}

fn subscription() -> Vec<Column> {
    vec![
        column("Clusters", |o, _| cell::at(o, "/status/counts/clusters")),
        column("Applied", |o, _| cell::at(o, "/status/counts/applied")),
        column("Healthy", |o, _| cell::at(o, "/status/counts/healthy")),
        column("Offline", |o, _| cell::at(o, "/status/counts/offline")),
        column("Revision", |o, _| cell::at(o, "/metadata/generation")),
        wide("Message", |o, _| cell::condition_field(o, "Healthy", "message")),
    ]
}

fn service() -> Vec<Column> {
    vec![
        column("Type", |o, _| match cell::at(o, "/spec/type") {
            kind if kind == cell::none() => json!("ClusterIP"),
            kind => kind,
        }),
        column("Cluster-IP", |o, _| cell::at(o, "/spec/clusterIP")),
        column("External-IP", |o, _| external_ip(o)),
        column("Port(s)", |o, _| ports(o)),
        wide("Selector", |o, _| cell::pairs(o, "/spec/selector")),
    ]
}

fn external_ip(service: &Value) -> Value {
    let published = cell::joined(service, "/status/loadBalancer/ingress", "ip");
    if published != cell::none() {
        return published;
    }
    let named = cell::at(service, "/spec/externalName");
    if named != cell::none() {
        return named;
    }
    let fixed = service.pointer("/spec/externalIPs").and_then(Value::as_array);
    cell::list(fixed.into_iter().flatten().map(cell::plain))
}

fn ports(service: &Value) -> Value {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    cell::list(ports.into_iter().flatten().map(|port| {
        let node_port = port["nodePort"].as_i64().filter(|n| *n != 0).map_or_else(String::new, |n| format!(":{n}"));
        format!("{}{node_port}/{}", cell::plain(&port["port"]), port["protocol"].as_str().unwrap_or("TCP"))
    }))
}

fn event() -> Vec<Column> {
    vec![
        column("Last Seen", |o, now| {
            let times =
                ["/lastTimestamp", "/deprecatedLastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
            let seen = times.iter().find(|pointer| o.pointer(pointer).is_some_and(Value::is_string));
            seen.map_or_else(cell::unknown, |pointer| cell::since(o, pointer, now))
        }),
        column("Type", |o, _| cell::at(o, "/type")),
        column("Reason", |o, _| cell::at(o, "/reason")),
        column("Object", |o, _| {
            let about = if o["regarding"].is_object() { &o["regarding"] } else { &o["involvedObject"] };
            json!(format!("{}/{}", cell::plain(&about["kind"]).to_lowercase(), cell::plain(&about["name"])))
        }),
        column("Message", |o, _| if o["note"].is_string() { cell::at(o, "/note") } else { cell::at(o, "/message") }),
    ]
}

/// What a controller that was given no number of replicas makes.
fn replicas(o: &Value) -> Value {
    o.pointer("/spec/replicas").filter(|count| count.is_number()).cloned().unwrap_or(json!(1))
}

fn containers() -> [Column; 2] {
    [
        wide("Containers", |o, _| cell::joined(o, "/spec/template/spec/containers", "name")),
        wide("Images", |o, _| cell::joined(o, "/spec/template/spec/containers", "image")),
    ]
}

fn deployment() -> Vec<Column> {
    let [names, images] = containers();
    vec![
        column("Ready", |o, _| cell::ratio(o, "/status/readyReplicas", replicas(o))),
        column("Up-to-date", |o, _| cell::count(o, "/status/updatedReplicas")),
        column("Available", |o, _| cell::count(o, "/status/availableReplicas")),
        names,
        images,
        wide("Selector", |o, _| cell::selector(o, "/spec/selector")),
    ]
}

fn stateful_set() -> Vec<Column> {
    let [names, images] = containers();
    vec![column("Ready", |o, _| cell::ratio(o, "/status/readyReplicas", replicas(o))), names, images]
}

fn daemon_set() -> Vec<Column> {
    let [names, images] = containers();
    vec![
        column("Desired", |o, _| cell::count(o, "/status/desiredNumberScheduled")),
        column("Current", |o, _| cell::count(o, "/status/currentNumberScheduled")),
        column("Ready", |o, _| cell::count(o, "/status/numberReady")),
        column("Up-to-date", |o, _| cell::count(o, "/status/updatedNumberScheduled")),
        column("Available", |o, _| cell::count(o, "/status/numberAvailable")),
        column("Node Selector", |o, _| cell::pairs(o, "/spec/template/spec/nodeSelector")),
        names,
        images,
        wide("Selector", |o, _| cell::selector(o, "/spec/selector")),
    ]
}

fn job() -> Vec<Column> {
    let [names, images] = containers();
    vec![
        column("Status", |o, _| job_status(o)),
        column("Completions", |o, _| {
            let wanted = ["/spec/completions", "/spec/parallelism"].iter().find_map(|pointer| o.pointer(pointer).filter(|v| v.is_number()));
            cell::ratio(o, "/status/succeeded", wanted.cloned().unwrap_or(json!(1)))
        }),
        column("Duration", |o, now| match cell::since(o, "/status/startTime", now) {
            unknown if unknown == cell::unknown() => cell::none(),
            running => running,
        }),
        names,
        images,
        wide("Selector", |o, _| cell::selector(o, "/spec/selector")),
    ]
}

fn job_status(job: &Value) -> Value {
    let reached = |kind: &str| cell::condition(job, kind) == json!("True");
    let known = [("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"), ("FailureTarget", "FailureTarget")];
    match known.iter().find(|(kind, _)| reached(kind)) {
        Some((_, text)) => json!(text),
        None if job.pointer("/status/startTime").is_some() => json!("Running"),
        None => cell::none(),
    }
}

fn cron_job() -> Vec<Column> {
    let [names, images] = [
        wide("Containers", |o, _| cell::joined(o, "/spec/jobTemplate/spec/template/spec/containers", "name")),
        wide("Images", |o, _| cell::joined(o, "/spec/jobTemplate/spec/template/spec/containers", "image")),
    ];
    vec![
        column("Schedule", |o, _| cell::at(o, "/spec/schedule")),
        column("Timezone", |o, _| cell::at(o, "/spec/timeZone")),
        column("Suspend", |o, _| json!(cell::plain(o.pointer("/spec/suspend").unwrap_or(&json!(false))))),
        column("Active", |o, _| cell::size(o, &["/status/active"])),
        column("Last Schedule", |o, now| match cell::since(o, "/status/lastScheduleTime", now) {
            unknown if unknown == cell::unknown() => cell::none(),
            since => since,
        }),
        names,
        images,
    ]
}
