//! The controllers against an API server, each test written once and run on every server there is: a real kube-apiserver with
//! `deploy/crds`, and the hub's own embedded API.

#[path = "support/apiserver.rs"]
mod apiserver;
#[path = "support/embedded.rs"]
mod embedded;
#[path = "controller/events.rs"]
mod events;
#[path = "controller/overriding.rs"]
mod overriding;
#[path = "controller/planning.rs"]
mod planning;
#[path = "controller/registering.rs"]
mod registering;
#[path = "controller/telling.rs"]
mod telling;
#[path = "support/world.rs"]
mod world;

/// A short name for a test, fit for a namespace and a label.
fn short(test: &'static str) -> String {
    let name: String = test.replace('_', "-").chars().take(40).collect();
    name.trim_end_matches('-').to_owned()
}

macro_rules! on_every_api {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod real_api_server {
            $(#[tokio::test]
            async fn $name() {
                let client = super::apiserver::client().await;
                super::$module::$name(super::world::World::new(client, true, super::short(stringify!($name))).await).await;
            })*
        }

        mod embedded_api {
            $(#[tokio::test]
            async fn $name() {
                let embedded = super::embedded::embedded_client();
                let world = super::world::World::new(embedded.client.clone(), false, super::short(stringify!($name)));
                super::$module::$name(world.await).await;
            })*
        }
    };
}

on_every_api! {
    events::a_refused_object_and_a_lost_connection_make_events,
    events::an_event_is_deleted_an_hour_after_it_was_last_told,
    overriding::an_override_is_right_on_two_clusters_follows_its_edits_and_is_undone,
    overriding::an_override_that_does_not_fit_is_told_and_the_object_goes_out_without_it,
    planning::a_change_is_planned_from_manifests_at_the_highest_version_seen,
    planning::what_changes_nothing_is_not_planned_again,
    planning::a_missing_template_is_kept_and_comes_back_in_place,
    planning::deleting_a_subscription_empties_the_list,
    planning::a_planner_started_again_plans_whole_lists_first,
    registering::a_cluster_is_registered_once_under_its_name,
    registering::an_agent_gets_back_the_bus_id_it_asks_for,
    registering::a_deleted_cluster_is_told_how_to_come_back,
    telling::statuses_tell_what_was_reported_and_are_written_only_when_they_differ,
    telling::a_cluster_gets_the_labels_of_its_nodes_and_is_selected_by_them,
    telling::a_subscription_says_what_it_misses,
    telling::a_subscription_is_healthy_when_its_objects_are_and_names_the_first_that_is_not,
    telling::a_template_tells_how_far_the_fleet_is_and_is_not_planned_again_for_it,
}
