//! What must not compile, each for the reason that its error code names.

/// Tokens are not written anywhere but by `TokenStore`, and not printed.
///
/// ```compile_fail,E0277
/// fn is_serialize<T: serde::Serialize>() {}
/// is_serialize::<martlet_auth::Tokens>();
/// ```
///
/// ```compile_fail,E0277
/// fn is_display<T: std::fmt::Display>() {}
/// is_display::<martlet_auth::Tokens>();
/// ```
///
/// ```
/// fn is_debug<T: std::fmt::Debug>() {}
/// is_debug::<martlet_auth::Tokens>();
/// ```
struct Secrets;
