// The list of screens, in the order of the navigation. A screen is a module that exports
// show(view); it is fetched when it is first opened.
const screen = (group, id, title, more) => ({ group, id, title, load: () => import(`./screens/${id}.js`), ...more });

export const screens = [
  screen('Now', 'overview', 'Overview'),
  screen('Now', 'start', 'Getting started'),
  screen('Topics', 'topics', 'Topics and messages'),
  screen('Topics', 'tail', 'Live tail'),
  screen('Topics', 'produce', 'Produce'),
  screen('Topics', 'schemas', 'Schemas'),
  screen('Front door', 'requests', 'Requests'),
  screen('Front door', 'groups', 'Consumers and groups'),
  screen('Back door', 'pipes', 'Pipes'),
  screen('Back door', 'targets', 'Targets'),
  screen('Back door', 'deliveries', 'Deliveries'),
  screen('Back door', 'letters', 'Dead letters'),
  screen('Back door', 'replay', 'Replay'),
  screen('Back door', 'functions', 'Functions'),
  screen('Events', 'bus', 'Event buses'),
  screen('Events', 'sandbox', 'Rule sandbox'),
  screen('Who may what', 'access', 'Access'),
  screen('Who may what', 'audit', 'Audit'),
];
