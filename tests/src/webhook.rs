//! A mutating admission webhook on a member that rewrites the images of Deployments.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::member::Member;
use crate::pki::Authority;
use crate::process::{Launch, Process};
use crate::scratch::Scratch;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running webhook; it ends with this value, and a member that still names it then refuses nothing (`failurePolicy: Ignore`).
#[derive(Debug)]
pub struct Webhook {
    _process: Process,
    _scratch: Scratch,
}

impl Webhook {
    /// Makes every image of a Deployment in `namespace` that does not start with `prefix` start with it.
    ///
    /// # Errors
    /// It does not start, or the member refuses it.
    pub fn rewrite_images(member: &Member, namespace: &str, prefix: &str) -> Result<Webhook> {
        let scratch = Scratch::create("webhook")?;
        let address = member.site().gateway().to_string();
        let authority = Authority::create(scratch.path(), "webhook-ca")?;
        let server = authority.server("webhook", std::slice::from_ref(&address))?;
        let script = scratch.path().join("rewrite.py");
        fs::write(&script, include_str!("webhook/rewrite.py"))?;
        let launch = Launch::new("webhook", "python3", scratch.path()).arg(&script).arg(&address);
        let mut process = launch.arg(&server.certificate).arg(&server.key).arg(prefix).start()?;
        let port = process.wait_for_line("port: ", READY_WITHIN)?;
        let ca = STANDARD.encode(fs::read(authority.certificate_file()).context("the webhook's CA")?);
        member.kubectl().apply(&configuration(namespace, &format!("https://{address}:{}/", port.trim()), &ca))?;
        Ok(Webhook { _process: process, _scratch: scratch })
    }
}

fn configuration(namespace: &str, url: &str, ca: &str) -> String {
    format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: rewrite-images}}
webhooks:
  - name: images.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    clientConfig: {{url: '{url}', caBundle: {ca}}}
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    rules: [{{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}]
"
    )
}
