//! Refusals in the words of the platform.

/// What the platform says when it does not do what was asked.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Refusal {
    pub(in crate::sim) status: u16,
    pub(in crate::sim) title: &'static str,
    pub(in crate::sim) detail: String,
    pub(in crate::sim) errors: Vec<(String, String)>,
}

impl Refusal {
    pub(in crate::sim) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), errors: Vec::new() }
    }

    pub(in crate::sim) fn field(mut self, field: &str, message: &str) -> Self {
        self.errors.push((field.to_owned(), message.to_owned()));
        self
    }

    /// A parameter that cannot have this value.
    pub(in crate::sim) fn value(field: &str) -> Self {
        Self::invalid(NOT_VALIDATED).field(field, "This value is not valid.")
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "Invalid Resource", detail)
    }

    pub(in crate::sim) fn not_found() -> Self {
        Self::new(404, "Resource Not Found", "The requested resource could not be found.")
    }
}

pub(super) const NOT_VALIDATED: &str = "The resource submitted could not be validated.";
pub(super) const INVALID_FIELDS: &str = "Your merge fields were invalid.";

pub(in crate::sim) fn member_exists(email: &str) -> Refusal {
    let detail = format!("{email} is already a list member. Use PUT to insert or update list members.");
    Refusal::new(400, "Member Exists", detail)
}

pub(in crate::sim) fn check_address(email: &str) -> Result<(), Refusal> {
    let good = email.split_once('@').is_some_and(|(local, domain)| {
        let labels = domain.split('.');
        !local.is_empty() && labels.clone().count() > 1 && labels.clone().all(|label| !label.is_empty())
    });
    if good && email.matches('@').count() == 1 && !email.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Ok(());
    }
    let detail = format!("{email} looks fake or invalid, please enter a real email address.");
    Err(Refusal::invalid(detail))
}
