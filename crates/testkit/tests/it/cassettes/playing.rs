//! What is recorded is played again.

use super::*;

#[tokio::test]
async fn what_was_recorded_is_played_without_the_server() {
    let world = World::new().await;
    let requests = [
        world.get("/things?limit=2"),
        world.get("/things/7"),
        world.post("/things", "application/json", r#"{"b":1,"a":[2]}"#),
        world.get("/gzip"),
        world.get("/archive"),
        world.get("/binary"),
        world.get("/large"),
        world.get("/reset"),
        world.get("/truncate"),
    ];
    let live = world.record(&requests).await;
    assert_eq!((live[6].body.len(), live[7].failure.unwrap().1), (3 << 20, Delivery::Unknown));
    assert_eq!(
        (&live[8].body[..], live[8].failure.unwrap().0),
        (&b"0123"[..], TransportErrorKind::Interrupted)
    );
    let World { server, folder, .. } = world;
    server.shutdown().await;

    let cassette = CassetteTransport::builder(folder.path().join("nested/vault.json")).open().unwrap();
    for (request, live) in requests.into_iter().zip(&live) {
        let played = send(&cassette, request).await;
        match (serde_json::from_slice::<Value>(&played.body), serde_json::from_slice::<Value>(&live.body)) {
            (Ok(played), Ok(live)) => assert_eq!(played, live),
            // The same content, compressed by another.
            _ if played.body.starts_with(&[0x1f, 0x8b]) => {}
            _ => assert_eq!(&played, live),
        }
        assert_eq!((played.status, &played.kind, played.failure), (live.status, &live.kind, live.failure));
    }
    assert!(cassette.finish().unwrap().is_empty());
}

#[tokio::test]
async fn a_large_body_is_a_stream_again_and_a_compressed_one_compressed() {
    let world = World::new().await;
    world.record(&[world.get("/large"), world.get("/gzip")]).await;
    assert!(world.text().contains("\"gzip\": {\n"), "readable, though it was compressed on the wire");
    let cassette = world.open(CassetteMode::Replay);
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let response = cassette.send(world.get("/large"), &cx).await.unwrap();
    assert!(response.into_body().count().await > 10);
    let response = cassette.send(world.get("/gzip"), &cx).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let body: Vec<Bytes> = response.into_body().try_collect().await.unwrap();
    let mut inflated = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body.concat()[..]), &mut inflated)
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&inflated).unwrap(), things());
}

#[tokio::test]
async fn two_recordings_of_the_same_are_the_same_file_and_noise_is_not_in_it() {
    let world = World::new().await;
    let requests = [world.get("/things?limit=2"), world.get("/binary"), world.get("/reset")];
    world.record(&requests).await;
    let first = world.text();
    world.record(&requests).await;
    assert_eq!(world.text(), first);
    for noise in ["user-agent", "content-length", "\"host\""] {
        assert!(!first.contains(noise), "{noise}");
    }
    assert!(first.contains("x-kept") && first.ends_with("}\n"));
    assert_eq!(
        std::fs::read_dir(world.path().parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[tokio::test]
async fn an_exchange_that_nobody_waited_for_hangs_again() {
    let world = World::new().await;
    let cassette = world.open(CassetteMode::Record);
    let cx = SendContext::new("vault", "things.any", Duration::from_secs(5));
    let clock = Clock::system();
    tokio::select! {
        _ = cassette.send(world.get("/stall"), &cx) => panic!("it stalls"),
        () = clock.sleep(Duration::from_millis(50)) => {}
    }
    // The head, and the beginning of a large body.
    let response = cassette.send(world.get("/large"), &cx).await.unwrap();
    let first = response.into_body().next().await.unwrap().unwrap();
    cassette.finish().unwrap();

    let cassette = world.open(CassetteMode::Replay);
    assert!(cassette.send(world.get("/stall"), &cx).now_or_never().is_none());
    let mut body = cassette.send(world.get("/large"), &cx).await.unwrap().into_body();
    let mut read = 0;
    while let Some(Some(chunk)) = body.next().now_or_never() {
        read += chunk.unwrap().len();
    }
    assert_eq!(read, first.len(), "so much was read, and the rest is not claimed to be empty");
    cassette.finish().unwrap();
}

#[tokio::test]
async fn requests_at_once_each_find_their_own_answer() {
    let world = World::new().await;
    let requests: Vec<_> = (0..20).map(|n| world.get(&format!("/things/{n}"))).collect();
    let cassette = world.open(CassetteMode::Record);
    futures_util::future::join_all(requests.iter().map(|r| send(&cassette, r.clone()))).await;
    cassette.finish().unwrap();
    let cassette = world.open(CassetteMode::Replay);
    let mut numbered: Vec<_> = requests.into_iter().enumerate().collect();
    numbered.reverse();
    for (n, request) in numbered {
        let body = send(&cassette, request).await.body;
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["message"], format!("no thing {n}"));
    }
    cassette.finish().unwrap();
}
