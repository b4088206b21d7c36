//! What must not compile, each for the reason that its error code names.

/// A layer runs the rest once: only `Retry` may run it again.
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<martlet_core::Next<'static>>();
/// ```
///
/// ```compile_fail,E0382
/// # use martlet_core::{Next, Request, Response, Result};
/// async fn call(request: Request, next: Next<'_>) -> Result<Response> {
///     next.run(request.clone()).await?;
///     next.run(request).await
/// }
/// ```
///
/// ```
/// # use martlet_core::{Next, Request, Response, Result};
/// async fn call(request: Request, next: Next<'_>) -> Result<Response> {
///     next.run(request.clone()).await
/// }
/// ```
struct Layers;

/// One key for each call, and a layer that sees attempts cannot give them another one: there is no way to it from a request.
///
/// ```compile_fail,E0599
/// # use martlet_core::{IdempotencyKey, Request};
/// fn another_key(request: Request, key: IdempotencyKey) -> Request {
///     request.idempotency_key(key)
/// }
/// ```
///
/// The caller may, before the call begins.
///
/// ```
/// # use martlet_core::{Call, IdempotencyKey};
/// fn own_key(call: Call, key: IdempotencyKey) -> Call {
///     call.idempotency_key(key)
/// }
/// ```
///
/// What holds for the whole call cannot be changed by an attempt: neither its deadline nor what it is.
///
/// ```compile_fail,E0594
/// # use martlet_core::Request;
/// # use martlet_base::Deadline;
/// fn more_time(request: &mut Request) {
///     request.context().deadline = Deadline::NONE;
/// }
/// ```
///
/// ```compile_fail,E0639
/// # use martlet_core::{CallContext, Operation};
/// fn another_context(operation: Operation, of: &CallContext) -> CallContext {
///     CallContext {
///         operation,
///         deadline: of.deadline,
///         started: of.started,
///         platform: of.platform.clone(),
///         connection: of.connection.clone(),
///     }
/// }
/// ```
struct Calls;

/// A secret is not printed by accident, nor written into a file.
///
/// ```compile_fail,E0277
/// # use martlet_core::Secret;
/// println!("{}", Secret::from("s"));
/// ```
///
/// ```compile_fail,E0277
/// fn is_serialize<T: serde::Serialize>() {}
/// is_serialize::<martlet_core::Secret>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_serialize<T: serde::Serialize>() {}
/// is_serialize::<martlet_core::Credential>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_deref<T: std::ops::Deref<Target = str>>() {}
/// is_deref::<martlet_core::Secret>();
/// ```
///
/// ```
/// # use martlet_core::Secret;
/// fn is_serialize<T: serde::Serialize>() {}
/// is_serialize::<martlet_core::Cursor>();
/// println!("{:?}", Secret::from("s"));
/// ```
struct Secrets;

/// An operation is a constant, so that its name can be a label: no text made at run time is one.
///
/// ```compile_fail,E0716
/// # use martlet_core::Operation;
/// let get = Operation::get("contacts.get", &format!("/contacts/{}", 7));
/// # let _ = get;
/// ```
///
/// ```
/// # use martlet_core::Operation;
/// const GET: Operation = Operation::get("contacts.get", "/contacts/{id}");
/// ```
struct Operations;
