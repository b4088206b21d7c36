//! The suite that every transport passes.

use martlet_reqwest::ReqwestTransport;
use martlet_testkit::conformance::transport::Subject;

fn reqwest() -> Subject {
    Subject::http(ReqwestTransport::new().unwrap())
}

martlet_testkit::transport_conformance!(reqwest);
