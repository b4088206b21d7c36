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

async fn subject(pooler: bool) -> Option<Subject> {
    let url = crate::url()?;
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
    subject(false).await
}

/// Without prepared statements and without notifications, as behind a pooler.
async fn pooled() -> Option<Subject> {
    subject(true).await
}

martlet_store::cells_conformance!(postgres);
martlet_store::leases_conformance!(postgres);
martlet_store::logs_conformance!(postgres);
martlet_store::queues_conformance!(postgres);
martlet_store::batches_conformance!(postgres);
martlet_store::model_conformance!(postgres);

mod unprepared {
    use super::pooled;

    martlet_store::batches_conformance!(pooled);
    martlet_store::leases_conformance!(pooled);
}
