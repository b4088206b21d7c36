//! Answers that are not those of the recording.

use super::*;

#[tokio::test]
async fn drift_of_the_real_server_is_found() {
    let world = World::new().await;
    world.record(&[world.get("/things"), world.get("/things/7")]).await;
    let before = world.text();
    let verify = async |change: &dyn Fn(&mut Value)| {
        let mut changed = things();
        change(&mut changed);
        *world.vault.things.lock().unwrap() = changed;
        let cassette = world.open(CassetteMode::Verify);
        send(&cassette, world.get("/things")).await;
        send(&cassette, world.get("/things/7")).await;
        match cassette.finish() {
            Ok(drift) => (Vec::new(), drift.notices().to_vec()),
            Err(CassetteError::Drift(drift)) => (drift.breaking().to_vec(), drift.notices().to_vec()),
            Err(other) => panic!("{other}"),
        }
    };
    let place = "things.any, 200: $";
    let nothing: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    assert_eq!(verify(&|_| ()).await, nothing);
    // Other values, and a member that was not always there.
    let values = verify(&|v| {
        v["things"][0]["name"] = "other".into();
        v["things"][1].as_object_mut().unwrap().remove("extra");
        v["things"][1]["score"] = 7.into();
    });
    assert_eq!(values.await, nothing);
    let gone = verify(&|v| drop(v["things"][1].as_object_mut().unwrap().remove("name")));
    assert_eq!(gone.await.0, [format!("{place}.things[].name is missing in 1 of 2")]);
    let retyped = verify(&|v| v["things"][0]["id"] = "1".into());
    assert_eq!(retyped.await.0, [format!("{place}.things[].id was an integer and is a string")]);
    let nulled = verify(&|v| v["next_page_token"] = Value::Null);
    assert_eq!(nulled.await.0, [format!("{place}.next_page_token was a string and is null")]);
    let filled = verify(&|v| v["things"][0]["note"] = "a".into());
    assert_eq!(filled.await, (vec![], vec![format!("{place}.things[].note was null and is a string")]));
    let added = verify(&|v| v["total"] = 2.into());
    assert_eq!(added.await, (vec![], vec![format!("{place}.total is new: an integer")]));
    let word = verify(&|v| v["things"][0]["status"] = "PAUSED".into());
    assert_eq!(word.await, (vec![], vec![format!("{place}.things[].status has a new word: \"PAUSED\"")]));
    assert_eq!(world.text(), before, "a verification writes nothing");

    // Another status, another kind of body, other requests.
    let cassette = world.open(CassetteMode::Verify);
    let mut other = world.get("/binary");
    send(&cassette, other.clone()).await;
    other.url.set_path("/things/7");
    other.method = Method::DELETE;
    send(&cassette, other).await;
    let drift = cassette.finish().unwrap();
    assert_eq!(drift.notices().len(), 4, "{drift}");
    assert!(drift.to_string().contains("notice: GET") && drift.to_string().contains("/binary"), "{drift}");
}

#[tokio::test]
async fn another_status_and_another_kind_of_body_are_drift() {
    let world = World::new().await;
    let recorded = world.folder.path().join("recorded.json");
    world.record(&[world.get("/things/7"), world.get("/things")]).await;
    let text = world.text().replace("\"status\": 404", "\"status\": 400");
    std::fs::write(&recorded, &text).unwrap();
    let (recorded, fresh) = (Cassette::load(&recorded).unwrap(), Cassette::load(world.path()).unwrap());
    let drift = recorded.check_drift(&fresh);
    assert_eq!(drift.breaking().len(), 1, "{drift}");
    assert!(drift.breaking()[0].ends_with("recorded status 400, now status 404"), "{drift}");
    assert!(fresh.check_drift(&fresh).is_empty());

    let mut tape: Value = serde_json::from_str(&world.text()).unwrap();
    tape["interactions"][1]["response"]["body"] = json!({ "text": "<html>" });
    std::fs::write(world.path(), tape.to_string()).unwrap();
    let drift = fresh.check_drift(&Cassette::load(world.path()).unwrap());
    assert!(drift.breaking()[0].ends_with("the body was JSON and is a text"), "{drift}");
}
