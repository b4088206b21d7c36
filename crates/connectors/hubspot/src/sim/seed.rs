//! The seeded contacts: every property of every contact is a pure function of (seed, index), so that two hundred thousand of
//! them take no memory.

use martlet_base::Timestamp;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Ids begin here and ascend by 1 to 13: numeric text, of different lengths, not dense.
const FIRST_ID: u64 = 51;
const STRIDE: u64 = 7;

/// All dates of seeded contacts are in the 400 days before 2025-06-01T00:00:00Z: in the past of every clock that a test or a
/// user is likely to have.
const LAST_CHANGE: u64 = 1_748_736_000_000;
const DAY: u64 = 86_400_000;

/// HubSpot's own batch updates give thousands of contacts one date; so does this one.
const SHARED_CHANGE: u64 = LAST_CHANGE - 17 * DAY;

/// First name, last name and their ASCII form: what people are called, and what their addresses are made of.
const NAMES: &[(&str, &str, &str)] = &[
    ("Zoë", "Müller", "zoe.mueller"),
    ("Łukasz", "Żółkiewski", "lukasz.zolkiewski"),
    ("José", "Núñez", "jose.nunez"),
    ("Åsa", "Öberg", "asa.oberg"),
    ("Siobhán", "O'Brien", "siobhan.obrien"),
    ("D’Angelo", "L'Hôpital", "dangelo.lhopital"),
    ("Nguyễn", "Văn Đức", "nguyen.vanduc"),
    ("Şebnem", "Iğdır", "sebnem.igdir"),
    ("Анна", "Каренина", "anna.karenina"),
    ("Олександр", "Їжакевич", "oleksandr.yizhakevych"),
    ("Ελένη", "Παπαδοπούλου", "eleni.papadopoulou"),
    ("Νίκος", "Γεωργίου", "nikos.georgiou"),
    ("فاطمة", "الزهراء", "fatima.alzahra"),
    ("محمد", "بن عبد الله", "mohamed.benabdallah"),
    ("שרה", "כהן", "sarah.cohen"),
    ("דוד", "לוי", "david.levi"),
    ("अनन्या", "शर्मा", "ananya.sharma"),
    ("विक्रम", "सिंह", "vikram.singh"),
    ("王", "小明", "xiaoming.wang"),
    ("李", "娜", "na.li"),
    ("さくら", "山田", "sakura.yamada"),
    ("ケンジ", "佐藤", "kenji.sato"),
    ("민준", "김", "minjun.kim"),
    ("서연", "박", "seoyeon.park"),
    ("สมชาย", "ใจดี", "somchai.jaidee"),
    ("Nia 🌻", "Okafor", "nia.okafor"),
    ("Sam", "Smith", "sam.smith"),
    ("Maria", "van der Berg-Díaz", "maria.vanderberg"),
    ("X Æ", "Null", "x.null"),
    ("John", "Doe \"JD\"", "john.doe"),
    ("Ana", "Conceição", "ana.conceicao"),
    ("ქეთევან", "ბერიძე", "ketevan.beridze"),
];

const DOMAINS: &[&str] =
    &["example.com", "example.org", "example.net", "mail.example.com", "shop.example.org"];
const COMPANIES: &[&str] = &[
    "Müller & Söhne GmbH",
    "Acme, Inc.",
    "株式会社さくら",
    "O'Neil Partners",
    "Торговый дом",
    "شركة النور",
    "Blue <Ocean>",
];
const STAGES: &[&str] =
    &["subscriber", "lead", "marketingqualifiedlead", "opportunity", "customer", "evangelist"];
const DEAL_STAGES: &[&str] =
    &["appointmentscheduled", "qualifiedtobuy", "contractsent", "closedwon", "closedlost"];
const COLORS: &[&str] = &["teal", "crimson", "ochre", "indigo", "vert émeraude", "青"];
const TIERS: &[&str] = &["bronze", "silver", "gold", "platinum"];
const CITIES: &[&str] =
    &["Zürich", "København", "Kraków", "İstanbul", "東京", "서울", "القاهرة", "São Paulo", "Αθήνα"];
const LANGUAGES: &[&str] = &["de", "da", "pl", "tr", "ja", "ko", "ar", "pt", "el", "en"];

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), over three numbers.
fn hash(seed: u64, index: u64, salt: u64) -> u64 {
    let mut z = seed
        .wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn pick<T: Copy>(from: &[T], seed: u64, index: u64, salt: u64) -> T {
    from[usize::try_from(hash(seed, index, salt) % from.len() as u64).unwrap_or_default()]
}

/// One seeded contact: what an example or a test needs to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedContact {
    /// Its id.
    pub id: u64,
    /// Its address: none for about 2 %, unique also without regard to case, malformed for about 1 in 4,000.
    pub email: Option<String>,
    /// Whether the address is one that HubSpot lets through and a mail platform refuses.
    pub malformed: bool,
    /// Whether `hs_email_optout` is true: about 3 %.
    pub opted_out: bool,
    /// Whether it is in the recycle bin: the ones behind the living.
    pub archived: bool,
    /// When it was last changed, unless [`SimOptions::one_date`](super::SimOptions::one_date) is set.
    pub modified: Timestamp,
}

/// The contact at `index` of a simulator with this seed and so many living contacts. The archived ones follow, up to
/// [`archived_contacts`] of them.
#[must_use]
pub fn seed_contact(seed: u64, index: u64, contacts: u64) -> SeedContact {
    SeedContact {
        id: id(seed, index),
        email: email(seed, index),
        malformed: malformed(seed, index),
        opted_out: opted_out(seed, index),
        archived: index >= contacts,
        modified: Timestamp::from_millis(i64::try_from(modified(seed, index, false)).unwrap_or(i64::MAX)),
    }
}

/// How many contacts lie in the recycle bin of a simulator with so many living ones: one for every 200.
#[must_use]
pub const fn archived_contacts(contacts: u64) -> u64 {
    contacts.div_ceil(200)
}

pub(super) fn id(seed: u64, index: u64) -> u64 {
    FIRST_ID + index * STRIDE + hash(seed, index, 1) % STRIDE
}

/// The only index that can have this id.
pub(super) fn index_of(id: u64) -> Option<u64> {
    Some(id.checked_sub(FIRST_ID)? / STRIDE)
}

/// An id beyond those of `count` seeded contacts.
pub(super) const fn id_after(count: u64) -> u64 {
    FIRST_ID + count * STRIDE
}

/// The number that the address holds; the address itself decides whether it is that contact's.
pub(super) fn index_in_email(email: &str) -> Option<u64> {
    let local = email.split_once('@')?.0;
    local.rsplit('.').next()?.parse().ok()
}

fn malformed(seed: u64, index: u64) -> bool {
    hash(seed, index, 2).is_multiple_of(4_000)
}

fn opted_out(seed: u64, index: u64) -> bool {
    hash(seed, index, 3) % 100 < 3
}

fn names(seed: u64, index: u64) -> (&'static str, &'static str, &'static str) {
    pick(NAMES, seed, index, 4)
}

fn email(seed: u64, index: u64) -> Option<String> {
    if malformed(seed, index) {
        let (_, _, ascii) = names(seed, index);
        return Some(match hash(seed, index, 5) % 3 {
            0 => format!("{ascii}.{index}@localhost"),
            1 => format!("{ascii}..{index}@example.com"),
            _ => format!("{ascii}.{index}@example..com"),
        });
    }
    if hash(seed, index, 6) % 100 < 2 {
        return None;
    }
    let (_, _, ascii) = names(seed, index);
    let email = format!("{ascii}.{index}@{}", pick(DOMAINS, seed, index, 7));
    Some(match hash(seed, index, 8) % 20 {
        0 => email.to_uppercase(),
        1 => email[..1].to_uppercase() + &email[1..],
        _ => email,
    })
}

/// Milliseconds since 1970. With `one_date` 62 % have the same instead of 20 %: more than 12,000 of 20,000 with any seed.
pub(super) fn modified(seed: u64, index: u64, one_date: bool) -> u64 {
    let h = hash(seed, index, 9);
    let shared = if one_date { h % 100 < 62 } else { h.is_multiple_of(5) };
    if shared { SHARED_CHANGE } else { LAST_CHANGE - 1 - (h >> 8) % (400 * DAY) }
}

/// Milliseconds since 1970.
pub(super) fn created(seed: u64, index: u64) -> u64 {
    modified(seed, index, false).min(LAST_CHANGE - 400 * DAY) - hash(seed, index, 10) % (1_000 * DAY)
}

/// A property that is not a date or the id.
pub(super) fn text(seed: u64, index: u64, name: &str) -> Option<Cow<'static, str>> {
    let h = |salt| hash(seed, index, salt);
    let (first, last, _) = names(seed, index);
    Some(match name {
        "email" => email(seed, index)?.into(),
        // A few are known by their address alone.
        "firstname" if !h(11).is_multiple_of(50) => first.into(),
        "lastname" if !h(11).is_multiple_of(40) => last.into(),
        "company" if h(12) % 3 != 0 => pick(COMPANIES, seed, index, 13).into(),
        "city" if h(14) % 4 != 0 => pick(CITIES, seed, index, 15).into(),
        "lifecyclestage" => pick(STAGES, seed, index, 16).into(),
        "favorite_color" if h(17) % 2 == 0 => pick(COLORS, seed, index, 18).into(),
        "loyalty_tier" if h(19) % 3 != 0 => pick(TIERS, seed, index, 20).into(),
        "last_order_value" if h(21) % 3 != 0 => {
            let cents = h(22) % 100_000;
            format!("{}.{:02}", cents / 100, cents % 100).into()
        }
        "hs_language" if h(23) % 2 == 0 => pick(LANGUAGES, seed, index, 24).into(),
        "hs_email_optout" if opted_out(seed, index) => "true".into(),
        "hs_email_optout" if h(25) % 10 != 0 => "false".into(),
        _ => return None,
    })
}

/// The properties of a company or deal: few and plain, unlike the contacts'.
pub(super) fn plain(kind: &str, seed: u64, index: u64) -> BTreeMap<String, String> {
    let name = pick(COMPANIES, seed, index, 30);
    let city = pick(CITIES, seed, index, 31);
    let pairs = match kind {
        "companies" => [
            ("name", format!("{name} {index}")),
            ("domain", format!("company{index}.example.com")),
            ("city", city.to_owned()),
        ],
        _ => [
            ("dealname", format!("{name}: deal {index}")),
            ("dealstage", pick(DEAL_STAGES, seed, index, 32).to_owned()),
            ("amount", (hash(seed, index, 33) % 100_000).to_string()),
        ],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_shares_are_about_what_they_are_said_to_be() {
        let all: Vec<_> = (0..20_000).map(|index| seed_contact(7, index, 20_000)).collect();
        let count = |test: fn(&SeedContact) -> bool| all.iter().filter(|c| test(c)).count();
        assert!((300..500).contains(&count(|c| c.email.is_none())));
        assert!((500..700).contains(&count(|c| c.opted_out)));
        assert!((1..15).contains(&count(|c| c.malformed)));
        let shared = all.iter().filter(|c| c.modified.as_millis() == SHARED_CHANGE as i64).count();
        assert!((3_500..4_500).contains(&shared), "{shared}");
        assert_eq!(archived_contacts(20_000), 100);
    }

    #[test]
    fn ids_ascend_and_addresses_are_unique_without_regard_to_case() {
        let all: Vec<_> = (0..20_000).map(|index| seed_contact(7, index, 20_000)).collect();
        assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(all.iter().zip(0..).all(|(contact, index)| index_of(contact.id) == Some(index)));
        let emails: Vec<_> = all.iter().filter_map(|c| c.email.as_ref()).map(|e| e.to_lowercase()).collect();
        assert_eq!(emails.iter().collect::<HashSet<_>>().len(), emails.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_contacts_in_every_version() {
        // Users' state files outlive a version: a contact that changes would be written again.
        let all = [0, 1, 2].map(|index| seed_contact(42, index, 3));
        assert_eq!(all.each_ref().map(|c| c.id), [56, 62, 67]);
        assert_eq!(
            all.each_ref().map(|c| c.modified.as_millis()),
            [1_724_405_849_497, 1_747_267_200_000, 1_724_863_441_719]
        );
        let emails = [None, Some("dangelo.lhopital.1@example.net"), Some("kenji.sato.2@example.net")];
        assert_eq!(all.each_ref().map(|c| c.email.as_deref()), emails);
    }
}
