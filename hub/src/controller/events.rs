//! Writes Kubernetes Events; `core::events` decides which.
//!
//! Invariants: recording never waits and never fails; one write at a time; an Event that can't be written is lost, since the statuses
//! say what is true.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::core::events::{Book, EventDraft, Involved, Owed};

/// Who says it.
const COMPONENT: &str = "clusternet-hub";

/// Where Events are recorded; clones record into the same book.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    recorded: Notify,
}

impl Recorder {
    /// Records what is to be told of an object.
    pub fn record(&self, about: &Involved, drafts: Vec<EventDraft>) {
        let now = Timestamp::now();
        for draft in drafts {
            self.book().record(about, draft, now);
        }
        self.0.recorded.notify_one();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next Event to write. Cancel safe.
    async fn next(&self) -> Owed {
        loop {
            let owed = self.book().take();
            match owed {
                Some(owed) => return owed,
                None => self.0.recorded.notified().await,
            }
        }
    }
}

/// Writes what is recorded until cancelled.
pub async fn run(client: Client, recorder: Recorder, shutdown: CancellationToken) {
    let writing = async {
        loop {
            let owed = recorder.next().await;
            if let Err(error) = write(&client, &owed).await {
                debug!(event = %owed.name, about = ?owed.about, %error, "can't write an Event; it is lost");
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = writing => {}
    }
}

/// Raises the count of the Event that says the same, or makes it.
async fn write(client: &Client, owed: &Owed) -> Result<(), Error> {
    let api = Api::<Event>::namespaced(client.clone(), &owed.about.namespace);
    let Some(found) = api.get_opt(&owed.name).await? else {
        return api.create(&PostParams::default(), &event(owed)).await.map(drop);
    };
    let count = found.count.unwrap_or(1).saturating_add(owed.times);
    let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": Time(owed.last) }));
    api.patch(&owed.name, &PatchParams::default(), &patch).await.map(drop)
}

fn event(owed: &Owed) -> Event {
    let (about, draft) = (owed.about.clone(), owed.draft.clone());
    let metadata = ObjectMeta { name: Some(owed.name.clone()), namespace: Some(about.namespace.clone()), ..ObjectMeta::default() };
    let involved_object = ObjectReference {
        api_version: Some(about.api_version.to_owned()),
        kind: Some(about.kind.to_owned()),
        namespace: Some(about.namespace),
        name: Some(about.name),
        uid: Some(about.uid),
        ..ObjectReference::default()
    };
    Event {
        metadata,
        involved_object,
        type_: Some(draft.level.to_owned()),
        reason: Some(draft.reason.to_owned()),
        message: Some(draft.message),
        first_timestamp: Some(Time(owed.first)),
        last_timestamp: Some(Time(owed.last)),
        count: Some(owed.times),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}
