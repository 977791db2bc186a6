"""Common English words of two to nine letters, which fonts write if no others are named."""

LISTED = """
able about above across act add afraid after again age agree air all allow alone along already also always
among angle animal answer any appear apple area arm around arrive art ask away baby back ball band bank base
basket bear beat beauty bed before begin behind believe bell best better between big bird black blood blow
blue board boat body bone book born both bottom box boy branch bread break bright bring broad brother brown
build burn busy buy call camp capital captain car card care carry case catch cause cell center century
certain chair chance change chart check chief child choose circle city claim class clean clear climb clock
close clothe cloud coast coat cold collect colony color column come common company compare complete consider
contain cook cool copy corn corner correct cost cotton count country course cover cow create crop cross crowd
cry current cut dad dance danger dark day dead deal dear death decide deep degree depend describe desert
design develop did differ direct divide doctor does dog dollar done door double down draw dream dress drink
drive drop dry duck during each ear early earth ease east eat edge effect egg eight either electric element
else end enemy energy engine enough enter equal even evening event ever every exact example except excite
exercise expect eye face fact fair fall family famous far farm fast fat father favor fear feed feel feet fell
few field fig fight figure fill final find fine finger finish fire first fish fit five flat floor flow flower
fly follow food foot for force forest form forward found four fox free fresh friend from front fruit full fun
game garden gas gather gave general gentle get girl give glad glass go gold gone good got govern grand grass
gray great green grew ground group grow guess guide gun hair half hand happen happy hard has hat have head
hear heart heat heavy held help her here high hill him his history hit hold hole home hope horse hot hour
house how huge human hundred hunt hurry ice idea imagine inch include indicate industry insect instant iron
island job join joy jump just keep kept key kill kind king knew know lady lake land language large last late
laugh law lay lead learn least leave led left leg length less letter level lie life lift light like line
liquid list listen little live locate log long look lost lot loud love low machine made magnet main major
make man many map mark market mass master match material matter may mean measure meat meet melody men metal
method middle might mile milk million mind mine minute miss mix modern molecule moment money month moon more
morning most mother motion mount mouth move much multiply music must name nation natural nature near
necessary neck need neighbor never new next night nine noise noon nor north nose note nothing notice noun now
number numeral object observe occur ocean off offer office often oil old once one only open operate opposite
order organ original other our out over own oxygen page paint pair paper paragraph parent part party pass
past path pattern pay people perhaps period person phrase pick picture piece pitch place plain plan plane
planet plant play please plural poem point poor populate port pose position possible post pound power
practice prepare present press pretty print probable problem process produce product proper property protect
prove provide pull push put quart question quick quiet quite quotient race radio rail rain raise range rather
reach read ready real reason receive record red region remember repeat reply represent require rest result
rich ride right ring rise river road rock roll room root rope rose round row rub rule run safe said sail salt
same sand sat save saw say scale school science score sea search season seat second section see seed seem
segment select self sell send sense sent sentence separate serve set settle seven several shall shape share
sharp she sheet shell shine ship shoe shop shore short should shoulder shout show side sight sign silent
silver similar simple since sing single sister sit six size skill skin sky sleep slip slow small smell smile
snow soft soil soldier solution solve some son song soon sound south space speak special speech speed spell
spend spoke spot spread spring square stand star start state station stay stead steam steel step stick still
stone stood stop store story straight strange stream street stretch string strong student study subject
substance subtract success such sudden suffix sugar suggest suit summer sun supply support sure surface
surprise swim syllable symbol system table tail take talk tall teach team teeth tell ten term test than thank
that the their them then there these they thick thin thing think third this those though thought thousand
three through throw thus tie time tiny tire together told tone too took tool top total touch toward town
track trade train travel tree triangle trip trouble truck true try tube turn twenty two type under unit until
up usual valley value vary verb very view village visit voice vowel wait walk wall want war warm was wash
watch water wave way wear weather week weight well went were west what wheel when where whether which while
white who whole whose why wide wife wild will wind window wing winter wire wish with woman wonder wood word
work world would write written wrong wrote yard year yellow yes yet you young your
"""
WORDS = tuple(LISTED.split())
