use serde_json::{Value, json};

use super::*;

/// What is seen of one fixture: level, reason, ended.
fn seen(group: &str, kind: &str, object: &Value) -> (Level, String, bool) {
    let verdict = judge(group, kind, object.to_string().as_bytes());
    (Level::try_from(verdict.health.level).unwrap(), verdict.health.reason, verdict.ended)
}

fn check(group: &str, kind: &str, rows: &[(Value, Level, &str)]) {
    for (object, level, reason) in rows {
        let (found, why, _) = seen(group, kind, object);
        assert_eq!((found, why.as_str()), (*level, *reason), "{kind} {object}");
    }
}

fn workload(spec: Value, status: Value) -> Value {
    json!({"metadata": {"generation": 2}, "spec": spec, "status": status})
}

#[test]
fn deployments() {
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "x"}}});
    let status = |replicas: i32, updated: i32, available: i32| {
        workload(
            spec.clone(),
            json!({"observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available}),
        )
    };
    let condition = |kind: &str, value: &str, reason: &str| {
        let mut object = status(2, 2, 1);
        object["status"]["conditions"] = json!([{"type": kind, "status": value, "reason": reason, "message": "m"}]);
        object
    };
    check(
        "apps",
        "Deployment",
        &[
            (workload(spec.clone(), json!({})), Level::Progressing, "NotObserved"),
            (status(2, 1, 1), Level::Progressing, "Updating"),
            (status(3, 2, 2), Level::Progressing, "Updating"),
            (status(2, 2, 1), Level::Progressing, "NotReady"),
            (status(2, 2, 2), Level::Healthy, ""),
            (condition("Progressing", "False", "ProgressDeadlineExceeded"), Level::Unhealthy, "ProgressDeadlineExceeded"),
            (condition("ReplicaFailure", "True", "FailedCreate"), Level::Unhealthy, "FailedCreate"),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), Level::Progressing, "Terminating"),
        ],
    );
}

#[test]
fn replica_numbers_and_the_pods_to_ask() {
    let selector = json!({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]});
    let status = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1,
        "unavailableReplicas": 2});
    let verdict = judge("apps", "Deployment", workload(json!({"replicas": 3, "selector": selector}), status).to_string().as_bytes());
    let replicas = Replicas {
        observed_generation: 2,
        generation: 2,
        replicas: 3,
        updated: 2,
        ready: 1,
        available: 1,
        unavailable: 2,
        current: 0,
        desired: 3,
    };
    assert_eq!(verdict.health.replicas, Some(replicas));
    assert_eq!(verdict.pods.as_deref(), Some("app=x,t in (a,b)"));
    let well = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    let verdict = judge("apps", "Deployment", workload(json!({"selector": {"matchLabels": {"a": "b"}}}), well).to_string().as_bytes());
    assert_eq!(verdict.pods, None);
}

#[test]
fn other_workloads() {
    let set = |ready: i32, updated: i32, strategy: Value| {
        let status = json!({"observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": updated,
            "currentRevision": "a", "updateRevision": "b"});
        workload(json!({"replicas": 3, "updateStrategy": strategy}), status)
    };
    check(
        "apps",
        "StatefulSet",
        &[
            (set(2, 2, json!({})), Level::Progressing, "NotReady"),
            (set(3, 2, json!({"type": "RollingUpdate"})), Level::Progressing, "Updating"),
            (set(3, 3, json!({})), Level::Healthy, ""),
            (set(3, 1, json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})), Level::Healthy, ""),
            (set(3, 0, json!({"type": "OnDelete"})), Level::Healthy, ""),
        ],
    );
    let daemon = |updated: i32, available: i32| {
        let status =
            json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated, "numberAvailable": available});
        workload(json!({}), status)
    };
    check(
        "apps",
        "DaemonSet",
        &[
            (daemon(2, 3), Level::Progressing, "Updating"),
            (daemon(3, 2), Level::Progressing, "NotReady"),
            (daemon(3, 3), Level::Healthy, ""),
        ],
    );
    let set = |available: i32| workload(json!({"replicas": 1}), json!({"observedGeneration": 2, "availableReplicas": available}));
    check("apps", "ReplicaSet", &[(set(0), Level::Progressing, "NotReady"), (set(1), Level::Healthy, "")]);
}

#[test]
fn what_runs_once() {
    let job = |conditions: Value| json!({"spec": {}, "status": {"conditions": conditions}});
    let is = |kind: &str| json!([{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"}]);
    assert_eq!(seen("batch", "Job", &job(is("Complete"))), (Level::Finished, String::new(), true));
    assert_eq!(seen("batch", "Job", &job(is("Failed"))), (Level::Unhealthy, "BackoffLimitExceeded".into(), true));
    assert_eq!(seen("batch", "Job", &job(json!(null))), (Level::Progressing, "Running".into(), false));
    let pod = |phase: &str| json!({"status": {"phase": phase}});
    assert_eq!(seen("", "Pod", &pod("Succeeded")), (Level::Finished, String::new(), true));
    assert_eq!(seen("", "Pod", &pod("Failed")), (Level::Unhealthy, "Failed".into(), true));
    assert_eq!(seen("batch", "CronJob", &json!({"status": {}})), (Level::Healthy, String::new(), false));
}

fn container(state: Value, last: Value, restarts: u32) -> Value {
    json!({"metadata": {}, "status": {"phase": "Pending", "containerStatuses":
        [{"name": "c", "state": state, "lastState": last, "restartCount": restarts}]}})
}

#[test]
fn pods_say_why() {
    let waiting = |reason: &str| container(json!({"waiting": {"reason": reason, "message": "m"}}), json!({}), 0);
    let died = |reason: &str| json!({"terminated": {"reason": reason, "exitCode": 137}});
    let unschedulable =
        json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    check(
        "",
        "Pod",
        &[
            (waiting("ImagePullBackOff"), Level::Unhealthy, "ImagePullBackOff"),
            (waiting("ErrImagePull"), Level::Unhealthy, "ImagePullBackOff"),
            (waiting("CrashLoopBackOff"), Level::Unhealthy, "CrashLoopBackOff"),
            (waiting("CreateContainerConfigError"), Level::Unhealthy, "CreateContainerConfigError"),
            (waiting("ContainerCreating"), Level::Progressing, "NotReady"),
            (container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), died("OOMKilled"), 3), Level::Unhealthy, "OOMKilled"),
            (container(died("Error"), json!({}), 1), Level::Unhealthy, "CrashLoopBackOff"),
            (container(died("OOMKilled"), json!({}), 0), Level::Unhealthy, "OOMKilled"),
            (unschedulable, Level::Progressing, "Unschedulable"),
            (ready, Level::Healthy, ""),
        ],
    );
}

#[test]
fn the_worst_pod_explains_its_workload() {
    let broken = container(json!({"waiting": {"reason": "ErrImagePull", "message": "m"}}), json!({}), 0);
    let pending = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
    let page = json!({"items": [pending, broken]}).to_string();
    let mut health = Verdict::progressing("NotReady", "0 of 1").health;
    explain(&mut health, worst(page.as_bytes()).unwrap());
    assert_eq!((health.level, health.reason.as_str()), (Level::Unhealthy as i32, "ImagePullBackOff"));
    let mut late = Verdict::unhealthy("ProgressDeadlineExceeded", "").health;
    explain(&mut late, worst(page.as_bytes()).unwrap());
    assert_eq!(late.level, Level::Unhealthy as i32);
    assert_eq!(worst(json!({"items": null}).to_string().as_bytes()), None);
}

#[test]
fn the_rest() {
    let claim = |phase: &str| json!({"status": {"phase": phase}});
    check(
        "",
        "PersistentVolumeClaim",
        &[
            (claim("Bound"), Level::Healthy, ""),
            (claim("Pending"), Level::Progressing, "Pending"),
            (claim("Lost"), Level::Unhealthy, "Lost"),
        ],
    );
    let service = |kind: &str, ingress: Value| json!({"spec": {"type": kind}, "status": {"loadBalancer": ingress}});
    check(
        "",
        "Service",
        &[
            (service("ClusterIP", json!({})), Level::Healthy, ""),
            (service("LoadBalancer", json!({})), Level::Progressing, "NoIngress"),
            (service("LoadBalancer", json!({"ingress": [{"ip": "1.2.3.4"}]})), Level::Healthy, ""),
        ],
    );
    let conditions = |kind: &str, value: &str| json!({"status": {"conditions": [{"type": kind, "status": value, "reason": "R"}]}});
    check(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        &[
            (conditions("Established", "True"), Level::Healthy, ""),
            (conditions("NamesAccepted", "False"), Level::Unhealthy, "R"),
            (json!({}), Level::Progressing, "NotEstablished"),
        ],
    );
    check(
        "example.com",
        "Shop",
        &[
            (json!({}), Level::Healthy, ""),
            (conditions("Ready", "True"), Level::Healthy, ""),
            (conditions("Ready", "False"), Level::Progressing, "R"),
            (conditions("Stalled", "True"), Level::Unhealthy, "R"),
            (conditions("Reconciling", "True"), Level::Progressing, "R"),
            (json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}), Level::Progressing, "NotObserved"),
            (json!({"status": "of another shape"}), Level::Healthy, ""),
        ],
    );
}

#[test]
fn odd_answers_do_no_harm() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod", "Service", "CustomResourceDefinition", "Other"] {
        for group in ["", "apps", "batch", "apiextensions.k8s.io"] {
            for text in ["", "[]", "3", "null", r#"{"spec":3}"#, r#"{"status":[]}"#, r#"{"metadata":null}"#] {
                let _ = (judge(group, kind, text.as_bytes()), worst(text.as_bytes()));
            }
        }
    }
}
