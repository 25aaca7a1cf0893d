create table if not exists courses (
    id       int primary key,
    title    text not null,
    category text not null,
    teacher  text,
    lessons  int not null check (lessons > 0)
);
create table if not exists users (
    id       int primary key,
    email    text not null unique,
    name     text not null,
    password text not null
);
-- The key starts with the user, because that is how enrolments are read.
create table if not exists enrolments (
    id          bigint generated always as identity,
    user_id     int not null references users,
    course_id   int not null references courses,
    enrolled_at timestamptz not null default now(),
    primary key (user_id, id)
);
create table if not exists user_reports (
    id          bigint generated always as identity primary key,
    message     text not null,
    reported_at timestamptz not null default now()
);
insert into courses (id, title, category, teacher, lessons) values
    (1, 'Astronomy without a telescope', 'science', 'Ada Moreau', 24),
    (2, 'How bridges stand', 'science', 'Kofi Mensah', 18),
    (3, 'Weather for sailors', 'science', 'Ingrid Dahl', 20),
    (4, 'Statistics from newspapers', 'science', 'Ada Moreau', 30),
    (5, 'Portuguese for the road', 'languages', 'Rui Santos', 40),
    (6, 'Latin inscriptions', 'languages', 'Clara Weiss', 26),
    (7, 'Signing: the first hundred words', 'languages', 'Mei Tanaka', 22),
    -- Taught by guests: no teacher of its own.
    (8, 'Conversation evenings', 'languages', null, 12),
    (9, 'Drawing what you see', 'arts', 'Noor Haddad', 28),
    (10, 'The string quartet', 'arts', 'Clara Weiss', 16),
    (11, 'Wood, joint and plane', 'arts', 'Kofi Mensah', 32),
    (12, 'Reading poems aloud', 'arts', 'Noor Haddad', 14),
    (13, 'Bread with four ingredients', 'kitchen', 'Rui Santos', 18),
    (14, 'Knives and how to keep them', 'kitchen', 'Ingrid Dahl', 12),
    (15, 'Soup for forty', 'kitchen', 'Mei Tanaka', 14),
    (16, 'Preserving the harvest', 'kitchen', 'Clara Weiss', 16)
on conflict (id) do nothing;
