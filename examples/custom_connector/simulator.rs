//! As much of Brevo as the example needs: it keeps addresses in order, and pages through them.

use martlet::prelude::*;
use martlet_testkit::{SimReply, SimRequest, SimServer, SimTime, Simulator};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const KEY: &str = "xkeysib-simulated";

#[derive(Debug, Default)]
struct BrevoSim(Mutex<Vec<String>>);

impl Simulator for BrevoSim {
    fn name(&self) -> &'static str {
        "brevo"
    }

    fn handle(&self, request: &SimRequest, _now: SimTime) -> SimReply {
        if request.header("api-key") != Some(KEY) {
            return SimReply::json(401, &json!({ "code": "unauthorized", "message": "Key not found" }));
        }
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if request.method == "POST" {
            let body: Value = request.json().unwrap_or_default();
            let email = body["email"].as_str().unwrap_or_default().to_owned();
            if addresses.contains(&email) {
                return SimReply::status(204);
            }
            addresses.push(email);
            return SimReply::json(201, &json!({ "id": addresses.len() }));
        }
        let number = |name| request.param(name).and_then(|text| text.parse().ok());
        let numbered = (1..).zip(addresses.iter());
        let page = numbered.skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(50));
        let contacts: Vec<Value> =
            page.map(|(id, email): (u64, _)| json!({ "id": id, "email": email })).collect();
        SimReply::json(200, &json!({ "contacts": contacts, "count": addresses.len() }))
    }
}

pub(crate) async fn start() -> std::io::Result<SimServer> {
    SimServer::start(Arc::new(BrevoSim::default()), ([127, 0, 0, 1], 0).into(), Clock::system(), None).await
}
