"""Names, spellings and streets of the synthetic communities; of no real person."""

from gateway.linkage.names import words

ENGLISH_F = words(
    "mary patricia linda barbara elizabeth jennifer maria susan margaret dorothy lisa nancy karen betty "
    "helen sandra donna carol ruth sharon michelle laura sarah kimberly deborah jessica shirley cynthia "
    "angela melissa brenda amy anna rebecca virginia kathleen pamela martha debra amanda stephanie "
    "carolyn christine janet catherine ann joyce diane alice julie heather teresa doris gloria evelyn "
    "jean cheryl mildred katherine joan ashley judith rose janice kelly nicole judy christina kathy "
    "theresa beverly denise tammy irene jane lori rachel marilyn andrea kathryn louise tina brandi "
    "crystal tiffany destiny latoya shanice keisha aaliyah ebony imani brianna alexis"
)
ENGLISH_M = words(
    "james john robert michael william david richard charles joseph thomas christopher daniel paul mark "
    "donald george kenneth steven edward brian ronald anthony kevin jason matthew gary timothy jose larry "
    "jeffrey frank scott eric stephen andrew raymond gregory joshua jerry dennis walter patrick peter "
    "harold douglas henry carl arthur ryan roger joe juan jack albert jonathan justin terry gerald keith "
    "samuel willie ralph lawrence nicholas roy benjamin bruce brandon adam harry fred wayne billy steve "
    "louis jeremy aaron randy howard eugene carlos russell bobby victor martin ernest phillip todd jesse "
    "craig alan shawn tyrone darnell jamal malik deshawn terrell marcus andre"
)
SPANISH_F = words(
    "guadalupe carmen rosa juana francisca esperanza luz yolanda leticia veronica alejandra gabriela "
    "dolores marisol xiomara yesenia araceli"
)
SPANISH_M = words(
    "jose luis jesus miguel francisco javier alejandro rafael ricardo eduardo fernando arturo ignacio "
    "guillermo enrique salvador humberto"
)
MUSLIM_F = words("fatima aisha khadija maryam amina halima zahra hodan faduma sahra asha nasra leila samira yasmin")
MUSLIM_M = words(
    "mohamed ahmed abdi hassan hussein ali omar ibrahim yusuf ismail abdullahi mahamud khalid mustafa "
    "osman said abdirahman"
)
SLAVIC_F = [
    "oksana",
    "olena",
    "iryna",
    "natalia",
    "tetiana",
    "svitlana",
    "kateryna",
    "yulia",
    "ludmila",
    "halyna",
    "nadiya",
]
SLAVIC_M = [
    "oleksandr",
    "serhii",
    "volodymyr",
    "andrii",
    "mykola",
    "ivan",
    "dmytro",
    "yurii",
    "vasyl",
    "bohdan",
    "taras",
]
ASIAN_F = [
    "thi",
    "lan",
    "mai",
    "huong",
    "linh",
    "mei",
    "xiu",
    "ling",
    "priya",
    "harpreet",
    "gurpreet",
    "jaswinder",
    "manpreet",
]
ASIAN_M = [
    "van",
    "minh",
    "hung",
    "tuan",
    "wei",
    "jun",
    "ming",
    "raj",
    "singh",
    "gurdeep",
    "harjit",
    "balwinder",
    "amrit",
]
INDIGENOUS_F = ["winona", "kaya", "aiyana", "nizhoni", "sakari", "tala", "kateri", "miigwan", "pauline", "delphine"]
INDIGENOUS_M = ["takoda", "elan", "ahanu", "chaska", "sakihitin", "mahihkan", "joseph", "elijah", "clarence"]
ENGLISH_L = words(
    "smith johnson williams brown jones davis miller wilson moore taylor anderson thomas jackson white "
    "harris martin thompson robinson clark lewis lee walker hall allen young king wright hill scott green "
    "adams baker nelson carter mitchell roberts turner phillips campbell parker evans edwards collins "
    "stewart morris rogers reed cook morgan bell murphy bailey cooper richardson cox howard ward peterson "
    "gray james watson brooks kelly sanders price bennett wood barnes ross henderson coleman jenkins "
    "perry powell long patterson hughes washington butler simmons foster bryant alexander russell griffin "
    "hayes"
)
SPANISH_L = words(
    "garcia martinez rodriguez hernandez lopez gonzalez perez sanchez ramirez torres flores rivera gomez "
    "diaz cruz morales reyes ortiz gutierrez chavez ramos ruiz alvarez mendoza vasquez castillo jimenez "
    "moreno romero herrera"
)
MUSLIM_L = words(
    "mohamed ali hassan abdi ahmed omar hussein warsame farah yusuf ibrahim osman jama nur khan rahman haidari"
)
SLAVIC_L = [
    "kovalenko",
    "shevchenko",
    "bondarenko",
    "tkachenko",
    "kravchenko",
    "melnyk",
    "boyko",
    "koval",
    "ivanenko",
    "petrenko",
    "savchenko",
    "moroz",
]
ASIAN_L = words("nguyen tran le pham huynh hoang chen wang zhang liu li singh kaur gill sandhu dhillon sidhu patel")
INDIGENOUS_L = words(
    "littlebear twobulls begay yazzie tsosie cardinal whitefish beaver crowchild starlight redcrow "
    "manygoats eaglefeather bearshirt bighead kakakaway nepinak"
)
CULTURES = {
    "english": (ENGLISH_F, ENGLISH_M, ENGLISH_L),
    "spanish": (SPANISH_F + ENGLISH_F[:20], SPANISH_M, SPANISH_L),
    "muslim": (MUSLIM_F, MUSLIM_M, MUSLIM_L),
    "slavic": (SLAVIC_F, SLAVIC_M, SLAVIC_L),
    "asian": (ASIAN_F, ASIAN_M, ASIAN_L),
    "indigenous": (INDIGENOUS_F + ENGLISH_F[20:50], INDIGENOUS_M + ENGLISH_M[20:50], INDIGENOUS_L),
}
NICK = {
    "james": "jim jimmy jamie",
    "john": "jack johnny",
    "robert": "bob rob bobby",
    "michael": "mike mick mikey",
    "william": "bill will billy liam",
    "david": "dave",
    "richard": "rick dick richie",
    "charles": "chuck charlie",
    "joseph": "joe joey",
    "thomas": "tom tommy",
    "christopher": "chris topher",
    "daniel": "dan danny",
    "donald": "don",
    "kenneth": "ken kenny",
    "steven": "steve",
    "edward": "ed eddie ted ned",
    "ronald": "ron ronnie",
    "anthony": "tony",
    "matthew": "matt",
    "timothy": "tim",
    "jeffrey": "jeff",
    "stephen": "steve",
    "andrew": "andy drew",
    "raymond": "ray",
    "gregory": "greg",
    "patrick": "pat paddy",
    "peter": "pete",
    "lawrence": "larry",
    "nicholas": "nick",
    "benjamin": "ben",
    "samuel": "sam",
    "elizabeth": "liz beth betty eliza lisa",
    "margaret": "peggy maggie meg",
    "patricia": "pat patty trish",
    "jennifer": "jen jenny",
    "susan": "sue susie",
    "katherine": "kate kathy katie",
    "catherine": "cathy cat",
    "kathleen": "kathy",
    "rebecca": "becky becca",
    "deborah": "deb debbie",
    "jessica": "jess jessie",
    "stephanie": "steph",
    "christine": "chris tina",
    "barbara": "barb barbie",
    "sandra": "sandy",
    "theresa": "terry tess",
    "amanda": "mandy",
    "francisco": "paco pancho",
    "jose": "pepe",
    "guadalupe": "lupe",
    "ignacio": "nacho",
    "guillermo": "memo",
    "enrique": "kike",
    "dolores": "lola",
    "jesus": "chuy",
    "eduardo": "lalo",
    "alejandro": "alex",
    "alejandra": "alex",
    "francisca": "paca",
    "oleksandr": "sasha alex",
    "volodymyr": "vova",
    "dmytro": "dima",
    "serhii": "serge",
    "kateryna": "katya",
    "svitlana": "lana",
    "natalia": "natasha",
}
VARIANT = {
    "mohamed": "muhammad mohammed mohamud mahamed",
    "ahmed": "ahmad axmed",
    "hussein": "hussain xuseen husein",
    "hassan": "xasan hasan",
    "yusuf": "yousef youssef yuusuf",
    "ibrahim": "ebrahim ibraahim",
    "fatima": "fatimah faduma fadumo",
    "aisha": "aysha ayesha caasha",
    "maryam": "mariam miriam",
    "omar": "umar cumar",
    "ali": "aly cali",
    "khadija": "khadijah qadija",
    "oleksandr": "alexander aleksandr",
    "serhii": "sergei sergiy",
    "dmytro": "dmitri dmitry",
    "volodymyr": "vladimir wolodymyr",
    "mykola": "nikolai nicholas",
    "olena": "elena helena",
    "iryna": "irina irene",
    "kateryna": "ekaterina katerina",
    "yulia": "julia iuliia",
    "andrii": "andrey andrew",
    "yurii": "yuri iurii",
    "catherine": "katherine kathryn catharine",
    "ann": "anne",
    "sarah": "sara",
    "brian": "bryan",
    "steven": "stephen",
    "jeffrey": "geoffrey",
    "gonzalez": "gonzales",
    "vasquez": "vazquez",
    "kovalenko": "kowalenko covalenko",
    "shevchenko": "schewtschenko sevcenko",
    "nguyen": "ngyuen nuygen",
    "littlebear": "little-bear",
    "twobulls": "two-bulls",
    "redcrow": "red-crow",
    "manygoats": "many-goats",
    "sandhu": "sandu",
    "dhillon": "dillon dhilon",
    "michelle": "michele",
    "takoda": "tokoda",
    "nizhoni": "nizoni",
    "crowchild": "crow-child",
    "eaglefeather": "eagle-feather",
}
ONSET = words("b br c ch d f g gr h j k l m n p r s sh st t tr v w z")
NUCLEUS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou"]
CODA = ["n", "r", "l", "s", "t", "ck", "m", "nd", "rt", "ng", "x", "ll"]
ENDING = words("son man ton er ski ez ley ford well ing berg sen ard ell")
STREETS = words(
    "main oak pine maple cedar elm washington lake hill park walnut spring north ridge church willow mill "
    "sunset railroad jackson highland forest river meadow lincoln franklin chestnut dogwood prospect "
    "jefferson"
)
TYPES = [("Street", "St"), ("Avenue", "Ave"), ("Road", "Rd"), ("Drive", "Dr"), ("Lane", "Ln")]
