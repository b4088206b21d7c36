//! The table of operations and the platform's facts.

use super::{Subject, Tested, World};
use martlet_core::{Idempotency, LimitSpec, Operation, Verb};
use std::collections::HashSet;

/// The base address is https, and the check operation is one of the table that can be called without arguments.
pub async fn the_platform_is_described<C: Tested>(subject: Subject<C>) {
    let world = subject.world(subject.answers());
    let descriptor = world.api.platform().descriptor();
    assert_eq!(descriptor.base_url().scheme(), "https", "credentials would travel in the clear");
    let check = descriptor.check_operation().expect("name a cheap operation with Descriptor::check");
    assert!(subject.operations.contains(check), "the check operation {} is not in the table", check.name());
    assert_eq!(check.get_idempotency(), Idempotency::Safe, "the check operation changes something");
    world.drive(world.api.check()).await.expect("the check operation needs no arguments and succeeds");
}

/// Names are `resource.verb`, lower case, and each is there once: they are labels of metrics.
pub async fn operations_have_names_of_their_own<C: Tested>(subject: Subject<C>) {
    assert!(!subject.operations.is_empty(), "the table of operations is empty");
    let mut seen = HashSet::new();
    for operation in &subject.operations {
        let name = operation.name();
        let good = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(name.contains('.') && name.split('.').all(good), "{name:?} is not of the form resource.verb");
        assert!(seen.insert(name), "two operations are called {name}");
    }
}

/// Paths begin with a slash, have no query, and their braces are balanced and named; the version is pinned in one place.
pub async fn paths_are_well_formed<C: Tested>(subject: Subject<C>) {
    let world = subject.world(subject.answers());
    let version = world.api.platform().descriptor().api_version();
    for operation in &subject.operations {
        let (name, path) = (operation.name(), operation.path());
        assert!(path.starts_with('/'), "{name}: the path {path} does not begin with a slash");
        assert!(
            !path.contains(['?', '#', ' ']),
            "{name}: the path {path} has a query or a blank; use Call::query"
        );
        let parts = parts(path).unwrap_or_else(|| panic!("{name}: the braces of {path} do not match"));
        let mut seen = HashSet::new();
        for part in &parts {
            assert!(
                !part.is_empty() && seen.insert(*part),
                "{name}: {path} has an unnamed part or one twice"
            );
        }
        if parts.contains(&"version") {
            assert!(!version.is_empty(), "{name}: {path} has a version and the descriptor pins none");
        }
    }
}

fn parts(path: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let Some((before, tail)) = rest.split_once('{') else {
            return (!rest.contains('}')).then_some(parts);
        };
        let (part, after) = tail.split_once('}')?;
        if before.contains('}') || part.contains('{') {
            return None;
        }
        parts.push(part);
        rest = after;
    }
}

/// POST and PATCH have no default, and nobody else may contradict HTTP.
pub async fn every_operation_says_whether_it_may_be_repeated<C: Tested>(subject: Subject<C>) {
    for operation in &subject.operations {
        let (name, idempotency) = (operation.name(), operation.get_idempotency());
        assert_ne!(
            idempotency,
            Idempotency::Unspecified,
            "{name} does not say whether it may be sent twice: add .idempotency(..)"
        );
        if operation.verb() == Verb::Get {
            assert_eq!(idempotency, Idempotency::Safe, "{name} is a GET that is not safe");
        }
        if matches!(operation.verb(), Verb::Put | Verb::Patch | Verb::Delete) {
            assert_ne!(idempotency, Idempotency::Safe, "{name} changes something");
        }
        if operation.is_key_required() {
            assert!(
                matches!(idempotency, Idempotency::Keyed(_)),
                "{name} requires a key that it does not take"
            );
        }
    }
}

/// A bucket or cache tag with a typing error would do nothing, silently.
pub async fn buckets_and_tags_are_not_misspelt<C: Tested>(subject: Subject<C>) {
    let world = subject.world(subject.answers());
    let buckets: Vec<_> = world.api.platform().descriptor().limits().iter().map(LimitSpec::bucket).collect();
    let tags: Vec<_> = subject.operations.iter().filter_map(tag).collect();
    for operation in &subject.operations {
        let name = operation.name();
        if let Some(bucket) = operation.get_quota() {
            assert!(buckets.contains(&bucket), "{name} takes from the bucket {bucket}, which has no limit");
        }
        if let Some(tag) = operation.get_invalidates() {
            assert!(tags.contains(&tag), "{name} invalidates {tag}, which no operation is cached under");
        }
        if tag(operation).is_some() {
            assert_eq!(
                operation.get_idempotency(),
                Idempotency::Safe,
                "{name} is cached and changes something"
            );
        }
        assert!(operation.get_cost() > 0, "{name} costs nothing");
    }
}

fn tag(operation: &Operation) -> Option<&'static str> {
    operation.get_cache().map(|rule| rule.tag())
}

/// What is not in the table cannot be found by its users.
pub async fn samples_are_of_the_table<C: Tested>(subject: Subject<C>) {
    assert!(!subject.samples.is_empty(), "add a use of the typed API with Subject::sample");
    let listed = subject.lists.iter().map(|list| &list.operation);
    for operation in subject.samples.iter().map(|sample| &sample.operation).chain(listed) {
        assert!(subject.operations.contains(operation), "{} is not in the table", operation.name());
    }
}

/// Each operation of the table is used by a sample. No case of [`connector_conformance!`](crate::connector_conformance): a
/// table may be wider than the typed API. Make a test of it where it is not.
pub async fn every_operation_has_a_sample<C: Tested>(subject: Subject<C>) {
    let has = |name| subject.samples.iter().any(|sample| sample.operation.name() == name);
    let without: Vec<_> = subject.operations.iter().map(Operation::name).filter(|name| !has(*name)).collect();
    assert!(without.is_empty(), "add a Subject::sample for {}", without.join(", "));
}

/// Each sample makes one request, of its operation, to its path below the platform's address, and takes its answer.
pub async fn samples_make_one_request_and_read_its_answer<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let name = sample.operation.name();
        let world: World<C> = subject.world(subject.answers());
        world.run(sample).await.unwrap_or_else(|e| panic!("{name} does not take its answer: {e}"));
        let requests = world.wire.requests();
        assert_eq!(requests.len(), 1, "{name} made other than one request");
        let request = &requests[0];
        assert_eq!(request.operation, name, "{name} made a request of another operation");
        assert_eq!(
            request.method.as_str(),
            format!("{:?}", sample.operation.verb()).to_uppercase(),
            "{name}"
        );
        let fixed = |path: &'static str| path.split('/').filter(|part| !part.is_empty());
        let sent: Vec<&str> = request.url.path().split('/').filter(|part| !part.is_empty()).collect();
        let asked: Vec<&str> = fixed(sample.operation.path()).collect();
        assert!(
            sent.len() >= asked.len(),
            "{name}: {} is no {}",
            request.url.path(),
            sample.operation.path()
        );
        for (sent, asked) in sent[sent.len() - asked.len()..].iter().zip(asked) {
            assert!(asked.contains('{') || *sent == asked, "{name}: the path has {sent} in place of {asked}");
        }
    }
}
