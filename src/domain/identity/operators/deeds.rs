//! What a signed-in operator does to operators: role, rank, freshness and effect in one step.

use serde::{Deserialize, Serialize};

use super::rows::{self, Invite, InviteInfo};
use super::{INVITE_TTL, MAX_OPERATORS, Operators, Reply, Why, invite_key, put, remove};
use crate::base::machine::Effects;
use crate::base::time::Millis;
use crate::domain::identity::roles::{Action, Role};

/// A change, by whoever the session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Opens an invitation for 24 h.
    #[serde(rename = "invite")]
    Invite {
        /// Made by the caller.
        #[serde(rename = "i")]
        id: String,
        /// Hash of the one-time code.
        #[serde(rename = "h")]
        code: String,
        /// What the newcomer will be.
        #[serde(rename = "r")]
        role: Role,
    },
    /// Takes an invitation back, by its id.
    #[serde(rename = "withdraw")]
    Withdraw(String),
    /// Gives an operator another role.
    #[serde(rename = "role")]
    SetRole(String, Role),
    /// Ends an operator's sessions and lets them in no more.
    #[serde(rename = "disable")]
    Disable(String),
    /// Lets an operator in again.
    #[serde(rename = "enable")]
    Enable(String),
    /// Forgets an operator.
    #[serde(rename = "remove")]
    Remove(String),
    /// Ends a session, by its id.
    #[serde(rename = "end")]
    EndSession(String),
    /// Ends all sessions of an operator; of one's own, all but the one that asks.
    #[serde(rename = "endall")]
    EndAllOf(String),
    /// Ends the session that asks.
    #[serde(rename = "out")]
    SignOut,
    /// A new operator key (its hash); ends one's other sessions.
    #[serde(rename = "key")]
    ReplaceKey(String),
    /// A new sealed seed and the step that showed it to work; ends one's other sessions.
    #[serde(rename = "totp")]
    ReplaceTotp(String, u64),
    /// New hashes of recovery codes.
    #[serde(rename = "codes")]
    ReplaceRecovery(Vec<String>),
}

/// Who acts: known from the session, at the moment of the change.
struct Actor {
    id: String,
    role: Role,
    /// The hash of the session's token.
    session: String,
}

impl Operators {
    /// Does a deed once: `id` names the call, and is made by the server.
    pub(super) fn act(
        &mut self,
        now: Millis,
        id: &str,
        by: &str,
        deed: Deed,
        effects: &mut Effects,
    ) -> Reply {
        let mut call = id.to_owned();
        call.push(' ');
        call.push_str(by);
        if self.done.contains(&call) {
            return Reply::Done;
        }
        match self.judge_and_do(now, by, deed, effects) {
            Ok(()) => {
                self.remember(call, effects);
                Reply::Done
            }
            Err(why) => Reply::No(why),
        }
    }

    fn judge_and_do(
        &mut self,
        now: Millis,
        by: &str,
        deed: Deed,
        effects: &mut Effects,
    ) -> Result<(), Why> {
        self.expire(now, effects);
        let session = self.sessions.get(by).ok_or(Why::Unknown)?;
        let fresh = session.0.fresh_until > now;
        let profile = self.enabled(&session.0.operator).ok_or(Why::Unknown)?;
        let actor = Actor {
            id: profile.0.id.clone(),
            role: profile.0.role,
            session: by.to_owned(),
        };
        let action = self.action(&actor, &deed);
        if !actor.role.may(action) {
            return Err(Why::Forbidden);
        }
        if action.fresh() && !fresh {
            return Err(Why::NotFresh);
        }
        self.perform(now, &actor, deed, effects)
    }

    /// Which line of the table a deed is.
    fn action(&self, actor: &Actor, deed: &Deed) -> Action {
        match deed {
            Deed::Invite { .. } | Deed::Withdraw(_) => Action::OperatorsInvite,
            Deed::SetRole(..) => Action::RolesWrite,
            Deed::Disable(_) | Deed::Enable(_) | Deed::Remove(_) => Action::OperatorsWrite,
            Deed::EndSession(id) if self.owner_of(id) == Some(&actor.id) => Action::OwnSessions,
            Deed::EndAllOf(id) if *id == actor.id => Action::OwnSessions,
            Deed::EndSession(_) | Deed::EndAllOf(_) => Action::OperatorsSessions,
            Deed::SignOut => Action::OwnSessions,
            Deed::ReplaceKey(_) | Deed::ReplaceTotp(..) | Deed::ReplaceRecovery(_) => {
                Action::OwnFactors
            }
        }
    }

    /// The operator of a session, by the session's id.
    fn owner_of(&self, id: &str) -> Option<&String> {
        let mut sessions = self.sessions.values();
        let session = sessions.find(|session| session.0.id == id)?;
        Some(&session.0.operator)
    }

    fn perform(
        &mut self,
        now: Millis,
        actor: &Actor,
        deed: Deed,
        effects: &mut Effects,
    ) -> Result<(), Why> {
        match deed {
            Deed::Invite { id, code, role } => self.invite(now, actor, id, code, role, effects),
            Deed::Withdraw(id) => {
                let role = self.invites.get(&id).ok_or(Why::NotFound)?.0.role;
                manages(actor, role)?;
                self.invites.remove(&id);
                effects.writes.push(remove(invite_key(&id)));
                Ok(())
            }
            Deed::SetRole(id, role) => {
                let last = self.is_last_owner(&id);
                let target = self.managed(actor, &id)?;
                manages(actor, role)?;
                if last && role != Role::Owner {
                    return Err(Why::LastOwner);
                }
                target.0.role = role;
                self.drop_invites_by(&id, effects);
                self.store(&id, effects);
                Ok(())
            }
            Deed::Enable(id) => {
                self.managed(actor, &id)?.0.disabled = false;
                self.store(&id, effects);
                Ok(())
            }
            Deed::Disable(id) => {
                let last = self.is_last_owner(&id);
                let target = self.managed(actor, &id)?;
                if last {
                    return Err(Why::LastOwner);
                }
                target.0.disabled = true;
                self.shut_out(&id, effects);
                self.store(&id, effects);
                Ok(())
            }
            Deed::Remove(id) => {
                let last = self.is_last_owner(&id);
                self.managed(actor, &id)?;
                if last {
                    return Err(Why::LastOwner);
                }
                self.shut_out(&id, effects);
                self.operators.remove(&id);
                self.store(&id, effects);
                Ok(())
            }
            Deed::EndSession(id) => {
                let owner = self.owner_of(&id).cloned().ok_or(Why::NotFound)?;
                if owner != actor.id {
                    self.managed(actor, &owner)?;
                }
                self.end_sessions(effects, |_, session| session.id == id);
                Ok(())
            }
            Deed::EndAllOf(id) => {
                if id != actor.id {
                    self.managed(actor, &id)?;
                }
                self.end_others(&id, &actor.session, effects);
                Ok(())
            }
            Deed::SignOut => {
                self.end_sessions(effects, |hash, _| hash == actor.session);
                Ok(())
            }
            Deed::ReplaceKey(_) | Deed::ReplaceTotp(..) | Deed::ReplaceRecovery(_) => {
                self.replace(actor, deed, effects)
            }
        }
    }

    fn invite(
        &mut self,
        now: Millis,
        actor: &Actor,
        id: String,
        code: String,
        role: Role,
        effects: &mut Effects,
    ) -> Result<(), Why> {
        manages(actor, role)?;
        if !rows::is_token(&id) || !rows::is_token(&code) {
            return Err(Why::Invalid);
        }
        if self.operators.len().saturating_add(self.invites.len()) >= MAX_OPERATORS {
            return Err(Why::Full);
        }
        if self.invites.contains_key(&id) || self.invites.values().any(|known| known.1 == code) {
            return Err(Why::Taken);
        }
        let info = InviteInfo {
            id: id.clone(),
            role,
            by: actor.id.clone(),
            expires: now.plus(INVITE_TTL),
            used: None,
        };
        let invite = Invite(info, code);
        effects.writes.push(put(invite_key(&id), &invite));
        self.invites.insert(id, invite);
        Ok(())
    }

    /// One's own key, second factor or recovery codes.
    fn replace(&mut self, actor: &Actor, deed: Deed, effects: &mut Effects) -> Result<(), Why> {
        let own = self.operators.get_mut(&actor.id).ok_or(Why::Unknown)?;
        let mut factors = own.1.clone();
        let only_codes = matches!(deed, Deed::ReplaceRecovery(_));
        match deed {
            Deed::ReplaceKey(key) => factors.key = key,
            Deed::ReplaceTotp(seed, step) => {
                factors.seed = seed;
                factors.last_step = step;
            }
            Deed::ReplaceRecovery(hashes) => factors.recovery = hashes,
            _ => return Err(Why::Invalid),
        }
        if !factors.acceptable() {
            return Err(Why::Invalid);
        }
        own.1 = factors;
        self.store(&actor.id, effects);
        if !only_codes {
            self.end_others(&actor.id, &actor.session, effects);
        }
        Ok(())
    }

    /// An operator whom the actor may change; anybody may change only those whom their role manages.
    fn managed(&mut self, actor: &Actor, id: &str) -> Result<&mut super::rows::Operator, Why> {
        let target = self.operators.get_mut(id).ok_or(Why::NotFound)?;
        manages(actor, target.0.role)?;
        Ok(target)
    }

    /// Would the house have no owner who can sign in, without this one?
    fn is_last_owner(&self, id: &str) -> bool {
        let mut owners = self
            .operators
            .values()
            .filter(|operator| operator.0.role == Role::Owner && !operator.0.disabled);
        owners.next().is_some_and(|owner| owner.0.id == id) && owners.next().is_none()
    }

    /// Ends the sessions of an operator and takes back the invitations that they made.
    fn shut_out(&mut self, id: &str, effects: &mut Effects) {
        self.end_sessions(effects, |_, session| session.operator == id);
        self.drop_invites_by(id, effects);
    }

    fn end_others(&mut self, id: &str, but: &str, effects: &mut Effects) {
        self.end_sessions(effects, |hash, session| {
            session.operator == id && hash != but
        });
    }

    /// Invitations stand on the inviter's rank, so they fall when it changes.
    fn drop_invites_by(&mut self, id: &str, effects: &mut Effects) {
        self.invites.retain(|key, invite| {
            let keep = invite.0.by != id || invite.0.used.is_some();
            if !keep {
                effects.writes.push(remove(invite_key(key)));
            }
            keep
        });
    }
}

fn manages(actor: &Actor, role: Role) -> Result<(), Why> {
    if actor.role.manages(role) {
        Ok(())
    } else {
        Err(Why::Forbidden)
    }
}
