//! The repository in an object store: what the credentials may do there, and what the service keeps of what goes.

use super::{Finding, Report};
use crate::operations::OperationError;
use crate::repository::Repository;
use crate::store::{Bucket, Keeping, Location, Rights};

/// Rights in the words of a service, for two kinds of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// For one that only makes backups.
    pub writer: String,
    /// For one that also forgets, prunes and changes keys.
    pub keeper: String,
}

/// What was found out of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the credentials in use may do.
    pub rights: Rights,
    /// What is kept.
    pub keeping: Keeping,
    /// What to give to whom.
    pub policies: Policies,
}

/// Tries the rights, and says what will bite; nothing where no service keeps the repository.
pub fn look(repository: &Repository, report: &mut Report) -> Result<Option<Found>, OperationError> {
    let Some(policies) = repository.location().parse().ok().and_then(|location| policies(&location)) else {
        return Ok(None);
    };
    let Some(rights) = repository.try_rights()? else { return Ok(None) };
    let keeping = repository.keeping();
    judge_rights(rights, &keeping, report);
    judge_keeping(&keeping, report);
    Ok(Some(Found { rights, keeping, policies }))
}

fn judge_rights(rights: Rights, keeping: &Keeping, report: &mut Report) {
    match rights {
        Rights { store: false, .. } => report.add([Finding::serious(
            "rights",
            "the credentials may not store objects in the bucket: no backup can be taken",
            "give them the rights of a writer, which are told below",
        )]),
        Rights { replace: false, .. } => report.add([Finding::warning(
            "rights",
            "the credentials may not store an object in another's place: a backup cannot say that it is still at work, and \
             one of half an hour or more starts over",
            "allow them to replace objects below leases/",
        )]),
        Rights { delete: false, .. } => report.notes.push(
            "the credentials may store and replace objects, not delete them: they are a writer's, with which forget, prune \
             and key changes are refused"
                .into(),
        ),
        Rights { .. } => report.notes.push(
            "the credentials may store, replace and delete objects: they are a keeper's; on a host that only makes backups a \
             writer's are safer"
                .into(),
        ),
    }
    if rights.replace && !keeping.versions && !keeping.comes_back {
        report.notes.push(
            "the bucket keeps no older versions: what somebody replaces with stolen credentials is gone; versions that a \
             writer cannot delete would stay"
                .into(),
        );
    }
}

fn judge_keeping(keeping: &Keeping, report: &mut Report) {
    if keeping.comes_back {
        report.add([Finding::serious(
            "versions",
            "the container has X-Versions-Location: a delete brings back an older object, which prune cannot see",
            "take that header away; X-Versions-Enabled or X-History-Location keep versions without that",
        )]);
    }
    if let Some(until) = &keeping.locked_until {
        report.notes.push(format!(
            "objects are locked, one that was stored now until {until}: prune deletes, and room is free once the lock has ended \
             and the bucket's lifecycle rules remove old versions"
        ));
    } else if keeping.versions {
        report.notes.push(KEPT.into());
    }
}

/// What is said where deletes free nothing by themselves.
pub const KEPT: &str =
    "the bucket keeps versions of what is deleted or replaced: they take room until its own rules remove them";

fn policies(location: &Location) -> Option<Policies> {
    match location {
        Location::S3(bucket) => Some(s3(bucket)),
        Location::Swift(container) => Some(swift(container)),
        Location::Local(_) | Location::Memory(_) => None,
    }
}

/// What a writer stores: nothing that says what is wanted, who may open it, or what goes.
const OF_WRITERS: [&str; 6] = ["packs", "index", "snapshots", "leases", "notes", "probes"];

fn s3(bucket: &Bucket) -> Policies {
    let all = format!("arn:aws:s3:::{}", bucket.name);
    let below = |folder: &str| match bucket.prefix.is_empty() {
        true => format!("{all}/{folder}"),
        false => format!("{all}/{}/{folder}", bucket.prefix),
    };
    let allow = |actions: &str, resources: &[String]| {
        let resources: Vec<String> = resources.iter().map(|of| format!("\"{of}\"")).collect();
        format!("{{\"Effect\":\"Allow\",\"Action\":[{actions}],\"Resource\":[{}]}}", resources.join(","))
    };
    let policy = |of_objects: [String; 2]| {
        let list = allow("\"s3:ListBucket\"", std::slice::from_ref(&all));
        format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{list},{}]}}", of_objects.join(","))
    };
    let every = [below("*")];
    let written: Vec<String> = OF_WRITERS.iter().map(|folder| below(&format!("{folder}/*"))).collect();
    Policies {
        writer: policy([allow("\"s3:GetObject\"", &every), allow("\"s3:PutObject\"", &written)]),
        keeper: policy([allow("\"s3:GetObject\"", &every), allow("\"s3:PutObject\",\"s3:DeleteObject\"", &every)]),
    }
}

/// Swift has no right to store without deleting: what protects is versions, which the owner alone can delete.
fn swift(container: &Bucket) -> Policies {
    let name = &container.name;
    Policies {
        writer: format!(
            "swift post {name} --read-acl PROJECT:WRITER --write-acl PROJECT:WRITER --header 'X-Versions-Enabled: true'"
        ),
        keeper: format!(
            "the owner of the account, or: swift post {name} --read-acl PROJECT:KEEPER --write-acl PROJECT:KEEPER"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(location: &str) -> Policies {
        policies(&location.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_writer_stores_what_backups_consist_of_and_a_keeper_deletes_too() {
        let Policies { writer, keeper } = of("s3://bucket/some/where");
        let parsed: [serde_json::Value; 2] = [&writer, &keeper].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(parsed[0]["Statement"][2]["Action"], serde_json::json!(["s3:PutObject"]));
        assert_eq!(parsed[0]["Statement"][2]["Resource"][0], "arn:aws:s3:::bucket/some/where/packs/*");
        assert_eq!(parsed[1]["Statement"][2]["Resource"], serde_json::json!(["arn:aws:s3:::bucket/some/where/*"]));
        assert!(!writer.contains("Delete") && !writer.contains("forgotten") && keeper.contains("s3:DeleteObject"));
        assert!(of("s3://bucket").writer.contains("\"arn:aws:s3:::bucket/packs/*\""));
        assert!(of("swift://box/x").writer.contains("swift post box "));
        assert_eq!(policies(&"/srv/backup".parse().unwrap()), None);
    }

    #[test]
    fn what_credentials_may_do_is_told_with_what_comes_of_it() {
        let told = |store, replace, delete, keeping: Keeping| {
            let mut report = Report::default();
            judge_rights(Rights { store, replace, delete }, &keeping, &mut report);
            judge_keeping(&keeping, &mut report);
            (report.findings.iter().map(|finding| finding.code.clone()).collect::<Vec<_>>(), report.notes.join("\n"))
        };
        let plain = Keeping::default();
        assert_eq!(told(false, false, false, plain.clone()).0, ["rights"]);
        assert_eq!(told(true, false, true, plain.clone()).0, ["rights"]);
        let (found, notes) = told(true, true, false, plain.clone());
        assert!(found.is_empty() && notes.contains("a writer's") && notes.contains("no older versions"), "{notes}");
        let versions = Keeping { versions: true, ..plain.clone() };
        let (found, notes) = told(true, true, true, versions);
        assert!(found.is_empty() && notes.contains("a keeper's") && notes.contains(KEPT), "{notes}");
        let locked = Keeping { versions: true, locked_until: Some("2027-01-01T00:00:00Z".into()), ..plain.clone() };
        assert!(told(true, true, true, locked).1.contains("until 2027-01-01T00:00:00Z"));
        assert_eq!(told(true, true, true, Keeping { comes_back: true, ..plain }).0, ["versions"]);
    }
}
