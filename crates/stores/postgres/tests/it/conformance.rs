use martlet_base::ManualClock;
use martlet_postgres::PostgresStore;
use martlet_store::conformance::Subject;
use std::sync::Arc;

/// Drops the schema at the end of a test.
struct Cleanup(String, String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let (url, schema) = (self.0.clone(), self.1.clone());
        let drop_it = async move {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
        };
        // A thread of its own, because this one belongs to the runtime of the test.
        let run =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(drop_it);
        std::thread::scope(|scope| scope.spawn(run).join().unwrap());
    }
}

async fn open(url: Option<String>, pooler: bool) -> Option<Subject> {
    let url = url?;
    let manual = ManualClock::new();
    let schema = crate::schema("conformance");
    let mut builder = PostgresStore::builder(&url).schema(&schema).clock(manual.clock()).connections(6);
    if pooler {
        builder = builder.pooler();
    }
    let store = builder.open().await.unwrap();
    Some(Subject::simulated(Arc::new(store), manual).keeping(Cleanup(url, schema)))
}

async fn postgres() -> Option<Subject> {
    open(crate::url(), false).await
}

/// Each transaction gets another connection, nothing can be prepared, and nobody is notified.
async fn pooled() -> Option<Subject> {
    open(crate::pooler(), true).await
}

martlet_store::cells_conformance!(postgres);
martlet_store::leases_conformance!(postgres);
martlet_store::logs_conformance!(postgres);
martlet_store::queues_conformance!(postgres);
martlet_store::batches_conformance!(postgres);
martlet_store::model_conformance!(postgres);

mod through_pgbouncer {
    use super::pooled;

    martlet_store::cells_conformance!(pooled);
    martlet_store::leases_conformance!(pooled);
    martlet_store::logs_conformance!(pooled);
    martlet_store::queues_conformance!(pooled);
    martlet_store::batches_conformance!(pooled);
    martlet_store::model_conformance!(pooled);
}
