use super::consent::{Closed, OPTED_OUT, OPTED_OUT_THERE, Step};
use super::mapping::{EMAIL, MemberMapping};
use crate::{
    AudienceApi, AudienceId, BulkMember, BulkOptions, MAX_BULK, Mailchimp, Member, MemberStatus,
    MemberUpsert, MergeFieldType, SubscriberHash,
};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use martlet_core::{Error, ErrorKind, Pages, Result};
use martlet_pipeline::{Consent, Deletion, Destination, ReadBack, Record, WriteOutcome};
use std::collections::HashSet;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many calls about single members one write has under way.
const SINGLES: usize = 5;

/// What an [`AudienceDestination`] may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AudienceOptions {
    resubscribe: bool,
    dry_run: bool,
}

impl AudienceOptions {
    /// Subscribes members again who opted out at Mailchimp, when the source does not say that they did. Never those whose
    /// address bounced (`cleaned`). Only for when you can show that they asked for it.
    pub const fn resubscribe(mut self, yes: bool) -> Self {
        self.resubscribe = yes;
        self
    }

    /// Only looks: `prepare` creates no merge fields, and `write` and `delete` refuse.
    pub const fn dry_run(mut self, yes: bool) -> Self {
        self.dry_run = yes;
        self
    }
}

/// The members of an audience as a destination, `mailchimp.members`.
///
/// **Consent:** an opt-out or bounce on either side wins.
///
/// | at the source | at Mailchimp | what is done |
/// |---|---|---|
/// | opted out | absent or archived | nothing: `opted_out` |
/// | opted out | unsubscribed or cleaned | nothing: `opted_out` |
/// | opted out | subscribed, pending, other | set to unsubscribed |
/// | anything else | unsubscribed | nothing: `opted_out_at_destination`; on demand subscribed again |
/// | anything else | cleaned | nothing: `opted_out_at_destination` |
/// | anything else | anything else | upsert in bulk, new ones as subscribed, no status for the others |
///
/// Who opted out at Mailchimp is read in `prepare`. Who does so afterwards keeps the status, because upserts send none.
#[derive(Debug)]
pub struct AudienceDestination {
    audience: AudienceApi,
    mapping: MemberMapping,
    options: AudienceOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until prepared: without it nobody may be written to.
    closed: Option<Closed>,
    missing_fields: Vec<String>,
}

impl AudienceDestination {
    /// The audience `id`, filled by `mapping`.
    #[must_use]
    pub fn new(
        mailchimp: &Mailchimp,
        id: impl Into<AudienceId>,
        mapping: MemberMapping,
        options: AudienceOptions,
    ) -> Self {
        Self { audience: mailchimp.audience(id), mapping, options, state: Mutex::default() }
    }

    /// The merge fields that `prepare` found missing, by tag: created, unless it is a dry run.
    #[must_use]
    pub fn missing_fields(&self) -> Vec<String> {
        self.state().missing_fields.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit_closed(&self, edit: impl FnOnce(&mut Closed)) {
        if let Some(closed) = &mut self.state().closed {
            edit(closed);
        }
    }

    fn refuse_dry_run(&self) -> Result<()> {
        if self.options.dry_run {
            return Err(Error::new(ErrorKind::InvalidRequest, "a dry run writes nothing"));
        }
        Ok(())
    }

    async fn check_audience(&self) -> Result<()> {
        match self.audience.get().await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let id = self.audience.id();
                Err(Error::new(ErrorKind::NotFound, format!("audience {id} does not exist"))
                    .with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn ensure_fields(&self) -> Result<()> {
        let known: HashSet<String> =
            self.audience.merge_fields_fresh().collect().await?.into_iter().map(|field| field.tag).collect();
        let missing: Vec<_> = self.mapping.tags().filter(|(tag, _)| !known.contains(*tag)).collect();
        self.state().missing_fields = missing.iter().map(|(tag, _)| (*tag).to_owned()).collect();
        if !self.options.dry_run {
            for (tag, name) in missing {
                self.audience.create_merge_field(tag, name, MergeFieldType::Text).await?;
            }
        }
        Ok(())
    }

    async fn read_closed(&self) -> Result<Closed> {
        let mut closed = Closed::default();
        for status in [MemberStatus::Unsubscribed, MemberStatus::Cleaned] {
            let members = self.audience.members().list().status(status).fields(["id", "status"]);
            let mut pages = members.pager().pages();
            while let Some(page) = pages.next().await {
                page?.items.iter().for_each(|member| closed.note_member(member));
            }
        }
        Ok(closed)
    }

    /// What to do with each record, by the consent of both sides.
    fn plan(&self, records: &[Record]) -> Result<Vec<(SubscriberHash, Step)>> {
        let mut state = self.state();
        let Some(closed) = &mut state.closed else {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                "prepare() was not called, so consent is unknown",
            ));
        };
        let hashes: Vec<_> = records.iter().map(|record| SubscriberHash::of(address(record))).collect();
        // First all opt-outs: they hold for every record with the same address, wherever it stands.
        for (record, hash) in records.iter().zip(&hashes) {
            if record.consent == Consent::Withdrawn {
                closed.withdraw(*hash);
            }
        }
        let steps = records.iter().zip(hashes);
        Ok(steps
            .map(|(record, hash)| (hash, closed.step(hash, record.consent, self.options.resubscribe)))
            .collect())
    }

    fn upsert_of(&self, record: &Record, status_if_new: MemberStatus) -> MemberUpsert {
        MemberUpsert::new(status_if_new).merge_fields(self.mapping.merge_fields(record))
    }

    async fn opt_out(&self, record: &Record, hash: SubscriberHash) -> Result<WriteOutcome> {
        let members = self.audience.members();
        match members.get(hash).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(WriteOutcome::Skipped(OPTED_OUT)),
            Err(error) => return Err(error),
            Ok(member) => match member.status {
                MemberStatus::Archived | MemberStatus::Unsubscribed | MemberStatus::Cleaned => {
                    self.edit_closed(|closed| closed.note(hash, &member.status));
                    return Ok(WriteOutcome::Skipped(OPTED_OUT));
                }
                _ => {}
            },
        }
        let out = MemberStatus::Unsubscribed;
        let upsert = self.upsert_of(record, out.clone()).status(out.clone());
        members.upsert(address(record), upsert).await?;
        self.edit_closed(|closed| closed.note(hash, &out));
        Ok(WriteOutcome::Written)
    }

    async fn resubscribe(&self, record: &Record, hash: SubscriberHash) -> Result<WriteOutcome> {
        let upsert = self.upsert_of(record, MemberStatus::Subscribed).status(MemberStatus::Subscribed);
        self.audience.members().upsert(address(record), upsert).await?;
        self.edit_closed(|closed| closed.reopen(hash));
        Ok(WriteOutcome::Written)
    }

    /// The fate of a member that the platform applied.
    fn applied(&self, hash: SubscriberHash, status: &MemberStatus) -> WriteOutcome {
        match status {
            // Opted out since `prepare`. The status is untouched, because none was sent.
            MemberStatus::Unsubscribed | MemberStatus::Cleaned => {
                self.edit_closed(|closed| closed.note(hash, status));
                WriteOutcome::Skipped(OPTED_OUT_THERE)
            }
            MemberStatus::Archived => {
                let message = "the member is archived, and the platform left it so";
                WriteOutcome::Rejected(Error::new(ErrorKind::Conflict, message).with_code("ARCHIVED"))
            }
            _ => WriteOutcome::Written,
        }
    }

    async fn remove(&self, deletion: &Deletion) -> Result<WriteOutcome> {
        let members = self.audience.members();
        let hash = SubscriberHash::from(&deletion.target);
        let member = match members.get(hash).await {
            Ok(member) => member,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(WriteOutcome::Deleted),
            Err(error) => return Err(error),
        };
        let other = self.mapping.key_of(&member).is_some_and(|key| key != deletion.key);
        if other || member.status == MemberStatus::Archived {
            return Ok(WriteOutcome::Deleted);
        }
        match member.status {
            // Archiving would forget the opt-out: whoever comes back would be subscribed as new. (The platform does not
            // archive the other two at all.) The member stays and is no longer ours.
            MemberStatus::Unsubscribed | MemberStatus::Cleaned | MemberStatus::Pending => {
                let nothing = Record::delete(&*deletion.key);
                let detach = self.upsert_of(&nothing, MemberStatus::Unsubscribed);
                match members.upsert(&member.email_address, detach).await {
                    Ok(_) => Ok(WriteOutcome::Deleted),
                    // Left as it is: nobody is written to there anyway.
                    Err(error) if is_refusal(&error) => Ok(WriteOutcome::Skipped(OPTED_OUT_THERE)),
                    Err(error) => Err(error),
                }
            }
            _ => match members.archive(hash).await {
                Ok(()) => Ok(WriteOutcome::Deleted),
                Err(error) if matches!(error.status(), Some(404 | 405)) => Ok(WriteOutcome::Deleted),
                Err(error) => Err(error),
            },
        }
    }
}

/// The address of a mapped record.
fn address(record: &Record) -> &str {
    record.text(EMAIL).unwrap_or_default()
}

/// What the platform refuses is one record's trouble; everything else ends the write.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Conflict)
}

fn settle(result: Result<WriteOutcome>) -> Result<WriteOutcome> {
    match result {
        Err(error) if is_refusal(&error) => Ok(WriteOutcome::Rejected(error)),
        other => other,
    }
}

/// Runs calls about single members, a few at a time, in order.
async fn a_few<F: Future<Output = Result<WriteOutcome>>>(calls: Vec<F>) -> Result<Vec<WriteOutcome>> {
    let outcomes: Vec<_> = stream::iter(calls).buffered(SINGLES).map(settle).collect().await;
    outcomes.into_iter().collect()
}

#[async_trait]
impl Destination for AudienceDestination {
    fn name(&self) -> &str {
        "mailchimp.members"
    }

    fn max_batch(&self) -> usize {
        MAX_BULK
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn prepare(&self) -> Result<()> {
        self.check_audience().await?;
        self.ensure_fields().await?;
        let closed = self.read_closed().await?;
        self.state().closed = Some(closed);
        Ok(())
    }

    fn target(&self, record: &Record) -> String {
        SubscriberHash::of(address(record)).to_string()
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>> {
        self.refuse_dry_run()?;
        let plan = self.plan(records)?;
        let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; records.len()];
        let (mut seen, mut singles, mut bulk, mut members) = (HashSet::new(), vec![], vec![], vec![]);
        for (place, (record, (hash, step))) in records.iter().zip(&plan).enumerate() {
            match step {
                Step::Skip(reason) => outcomes[place] = Some(WriteOutcome::Skipped(reason)),
                _ if address(record).is_empty() => {
                    let error = Error::new(ErrorKind::Rejected, "the record has no email_address");
                    outcomes[place] = Some(WriteOutcome::Rejected(error.with_code("NO_ADDRESS")));
                }
                _ if !seen.insert(hash) => {
                    let error = Error::new(ErrorKind::Conflict, "another record has the same address");
                    outcomes[place] = Some(WriteOutcome::Rejected(error.with_code("DUPLICATE_ADDRESS")));
                }
                Step::OptOut | Step::Resubscribe => singles.push(place),
                Step::Upsert => {
                    bulk.push(place);
                    let upsert = self.upsert_of(record, MemberStatus::Subscribed);
                    members.push(BulkMember::new(address(record), upsert));
                }
            }
        }
        let calls: Vec<_> = singles
            .iter()
            .map(|&place| {
                let (record, (hash, step)) = (&records[place], plan[place]);
                async move {
                    match step {
                        Step::Resubscribe => self.resubscribe(record, hash).await,
                        _ => self.opt_out(record, hash).await,
                    }
                }
            })
            .collect();
        // Opt-outs first: should the rest fail, they are through.
        for (place, outcome) in singles.iter().zip(a_few(calls).await?) {
            outcomes[*place] = Some(outcome);
        }
        let answer = self.audience.members().bulk(&members, BulkOptions::update_existing()).await?;
        for (index, receipt) in answer.ok {
            outcomes[bulk[index]] = Some(self.applied(receipt.hash, &receipt.status));
        }
        for (index, error) in answer.failed {
            outcomes[bulk[index]] = Some(WriteOutcome::Rejected(error));
        }
        let all: Option<Vec<WriteOutcome>> = outcomes.into_iter().collect();
        all.ok_or_else(|| Error::new(ErrorKind::Decode, "a record was left without an outcome"))
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<Vec<WriteOutcome>> {
        self.refuse_dry_run()?;
        a_few(deletions.iter().map(|deletion| self.remove(deletion)).collect()).await
    }

    async fn read_back(&self) -> Result<Box<dyn ReadBack>> {
        let fields = ["id", "email_address", "status", "merge_fields"];
        let pages = self.audience.members().list().fields(fields).pager().pages();
        Ok(Box::new(MembersBack { pages, mapping: self.mapping.clone() }))
    }
}

#[derive(Debug)]
struct MembersBack {
    pages: Pages<Member>,
    mapping: MemberMapping,
}

#[async_trait]
impl ReadBack for MembersBack {
    async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        let Some(page) = self.pages.next().await.transpose()? else { return Ok(None) };
        let there = page.items.into_iter().filter(|member| member.status != MemberStatus::Archived);
        Ok(Some(there.filter_map(|member| self.mapping.record_of(member)).collect()))
    }
}
