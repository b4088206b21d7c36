//! Records are personal data: they are in no report, error or dead letter that is printed.

use crate::World;
use martlet_pipeline::Record;
use martlet_testkit::Canary;
use serde_json::json;

#[tokio::test]
async fn what_moves_is_in_nothing_that_is_printed() {
    let canary = Canary::new("person");
    let fields = json!({ "email": canary.text(), "deep": [{ "note": canary.text() }] });
    let record = Record::upsert("7", fields.as_object().unwrap().clone());
    canary.absent_from_debug("a record", &record);
    let world = World::new(3);
    canary.absent_from_debug("a pipeline", &world.pipeline());
    canary.absent_from_debug("a builder", &world.builder());
}
